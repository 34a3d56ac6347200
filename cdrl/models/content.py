"""CCRL's content encoder: what is being said, from a short window of frames."""

import torch
import torch.nn.functional as F
from torch import nn


class ContentEncoder(nn.Module):
    """Cross-attention over the tokens of a window; the audio prior may guide the query, the image gives every value.

    Each frame contributes a face token and a mouth token. A few queries, learnt, shifted by the audio prior where it is
    given, gather them. Sound can choose where to look but has no path of its own into the embedding; which of the two
    decides is nevertheless measured (`content.swap_image`, `content.swap_audio`), never assumed.

    Differs from the release: queries are vectors, not one map repeated over channels (whose attention has rank one);
    a window instead of one frame; and no audio is needed at all.

    Args:
        face, mouth, audio: lengths of the features. window: T frames, odd.
        embedding: D of the output. streams: which image tokens are used.

    Example:
        ContentEncoder()(torch.zeros(2, 9, 256), torch.zeros(2, 9, 128)).shape == (2, 12)
    """

    def __init__(
        self,
        face: int = 256,
        mouth: int = 128,
        audio: int = 64,
        window: int = 9,
        embedding: int = 12,
        width: int = 128,
        queries: int = 4,
        streams: tuple = ("face", "mouth"),
        dropout: float = 0.0,
    ):
        super().__init__()
        self.window, self.streams = window, tuple(streams)
        self.face = nn.Linear(face, width)
        self.mouth = nn.Linear(mouth, width)
        self.audio = nn.Linear(audio, width * queries)
        self.position = nn.Parameter(torch.randn(len(self.streams), window, width) * 0.02)
        self.query = nn.Parameter(torch.randn(queries, width) * 0.02)
        self.dropout = nn.Dropout(dropout)
        self.attention = nn.MultiheadAttention(width, 4, batch_first=True)
        flat = width * (queries + window * len(self.streams))
        self.head = nn.Sequential(
            nn.LayerNorm(flat), nn.Linear(flat, 256), nn.SiLU(), nn.Linear(256, embedding)
        )

    def forward(
        self, face: torch.Tensor, mouth: torch.Tensor, audio: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Embed windows.

        Args:
            face: (B, T, 256). mouth: (B, T, 128), features of the same frames.
            audio: (B, T, 64) audio prior of these frames, or None: decided by the image alone.

        Returns:
            (B, D), unit norm.
        """
        given = {"face": face, "mouth": mouth}
        tokens = [
            getattr(self, name)(given[name]) + self.position[k]
            for k, name in enumerate(self.streams)
        ]
        tokens = self.dropout(F.silu(torch.cat(tokens, 1)))
        query = self.query.expand(len(tokens), -1, -1)
        if audio is not None:
            query = query + self.audio(audio.mean(1)).view(len(tokens), *self.query.shape)
        gathered, _ = self.attention(query, tokens, tokens, need_weights=False)
        return F.normalize(self.head(torch.cat([gathered, tokens], 1).flatten(1)), dim=-1)
