"""CCRL's content encoder: the content of speech, from a short window of frames."""

import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.checkpoint import Pretrained

HEADS = 4  # of the attention
HIDDEN = 256  # width of the last hidden layer


class ContentEncoder(nn.Module, Pretrained):
    """Cross-attention over the tokens of a window; audio may shift the query, images give values.

    Each frame gives a face token and a mouth token. A few learnt queries, shifted by the audio
    prior where it is given, gather them. Audio chooses where to attend but has no path of its own
    into the embedding. Which of the two decides is measured all the same (`content.swap_image`,
    `content.swap_audio`).

    Differs from the release: queries are vectors, not one map repeated over channels (whose
    attention has rank one); a window instead of one frame; audio is optional.

    Args:
        face: length of a frame's face features.
        mouth: length of a frame's mouth features.
        audio: length of a frame's audio features.
        window: T frames, odd.
        embedding: D of the output.
        width: of a token.
        queries: number of learnt queries.
        dropout: on the tokens.

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
        dropout: float = 0.0,
    ):
        super().__init__()

        self.config = {
            "face": face,
            "mouth": mouth,
            "audio": audio,
            "window": window,
            "embedding": embedding,
            "width": width,
            "queries": queries,
            "dropout": dropout,
        }
        self.window = window
        self.face = nn.Linear(face, width)
        self.mouth = nn.Linear(mouth, width)
        self.audio = nn.Linear(audio, width * queries)

        position = torch.randn(2, window, width) * 0.02
        self.position = nn.Parameter(position)

        query = torch.randn(queries, width) * 0.02
        self.query = nn.Parameter(query)

        self.dropout = nn.Dropout(dropout)
        self.attention = nn.MultiheadAttention(width, HEADS, batch_first=True)

        features = width * (queries + 2 * window)
        self.head = nn.Sequential()
        self.head.append(nn.LayerNorm(features))
        self.head.append(nn.Linear(features, HIDDEN))
        self.head.append(nn.SiLU())
        self.head.append(nn.Linear(HIDDEN, embedding))

    def forward(
        self, face: torch.Tensor, mouth: torch.Tensor, audio: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Embed windows.

        Args:
            face: (B, T, 256) features.
            mouth: (B, T, 128) features of the same frames.
            audio: (B, T, 64) audio prior of these frames; None: the images alone decide.

        Returns:
            (B, D), unit norm.
        """
        face_tokens = self.face(face) + self.position[0]
        mouth_tokens = self.mouth(mouth) + self.position[1]
        tokens = torch.cat([face_tokens, mouth_tokens], 1)
        tokens = F.silu(tokens)
        tokens = self.dropout(tokens)

        query = self.query.expand(tokens.shape[0], -1, -1)
        if audio is not None:
            shift = self.audio(audio.mean(1))
            query = query + shift.view_as(query)

        gathered, _ = self.attention(query, tokens, tokens, need_weights=False)

        hidden = torch.cat([gathered, tokens], 1)
        embedding = self.head(hidden.flatten(1))

        return F.normalize(embedding, dim=-1)
