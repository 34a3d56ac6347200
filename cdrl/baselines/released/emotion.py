"""CERL as released: a head for every label, learnable context per class, full size from a checkpoint; no part of our method.

Our words on the left, the release's state dict on the right (`load_released_emotion` applies it):

    heads.{0..6}.{0,2,4}.*   mlps.{0..6}.mlp.{0,2,4}.*
    context                  prompt_learner.ctx (7, 8, 512)
    start, description       prompt_learner.token_prefix (7, 1, 512), prompt_learner.token_suffix (7, 68, 512)
    clip.visual.*            image_encoder.*   OpenAI's CLIP ViT-B/32
    clip.*                   text_encoder.*    its text tower, without the token embedding
"""

from pathlib import Path

import open_clip
import torch
import torch.nn.functional as F
from torch import nn

from cdrl.baselines.released.networks import check_keys, read_checkpoint


class LabelHeads(nn.Module):
    """One MLP per label, each applied to the image of its own label only.

    So head i may put a constant at its own text and never look at the image: re-implemented on a small rendered corpus, the
    loss can be met from the label alone.

    Args:
        features: length of the image features, 512 in the release. embedding: D. labels: K. hidden: width.

    Example:
        LabelHeads(512, 512)(torch.zeros(2, 7, 512)).shape == (2, 7, 512)
    """

    def __init__(self, features: int, embedding: int, labels: int = 7, hidden: int = 256):
        super().__init__()
        widths = (features, hidden, hidden, embedding)
        self.heads = nn.ModuleList(
            nn.Sequential(
                *[
                    layer
                    for a, b in zip(widths[:-1], widths[1:], strict=True)
                    for layer in (nn.Linear(a, b), nn.ReLU())
                ][:-1]
            )
            for _ in range(labels)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, K, features), image k of label k -> (B, K, D), unit norm."""
        return F.normalize(
            torch.stack([head(images[:, k]) for k, head in enumerate(self.heads)], 1), dim=-1
        )


class ReleasedEmotion(LabelHeads):
    """The released CERL at full size: CLIP ViT-B/32, 8 context tokens for each of 7 classes, 7 heads 512-256-256-512."""

    def __init__(self):
        super().__init__(512, 512)
        self.clip = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None)
        del self.clip.token_embedding, self.clip.logit_scale
        self.context = nn.Parameter(torch.zeros(7, 8, 512))
        self.register_buffer("start", torch.zeros(7, 1, 512))
        self.register_buffer("description", torch.zeros(7, 68, 512))

    def text(self) -> torch.Tensor:
        """(7, 512) text embeddings of the prompts, unit norm: the emotion prior, angry to surprised.

        As in the release no positional embedding is added. The end of each prompt is where its padding begins.
        """
        tokens = torch.cat([self.start, self.context, self.description], 1)
        padded = (self.description == self.description[:, -1:]).all(-1)  # (7, 68)
        end = (
            1
            + self.context.shape[1]
            + padded.shape[1]
            - padded.flip(1).long().cumprod(1).sum(1)
            - 1
        )
        hidden = self.clip.ln_final(self.clip.transformer(tokens, attn_mask=self.clip.attn_mask))
        return F.normalize(
            hidden[torch.arange(len(tokens)), end] @ self.clip.text_projection, dim=-1
        )

    def image_features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, 224, 224) in [-1, 1] -> (B, 512), not normalised: what the release multiplies with the prior of a label."""
        return self.clip.visual(images)


def release_emotion_name(name: str) -> str:
    """Our name of a parameter of the release's CERL checkpoint; the name itself where it has none.

    >>> release_emotion_name("mlps.3.mlp.2.weight")
    'heads.3.2.weight'
    """
    if name.startswith("mlps."):
        return name.replace("mlps.", "heads.", 1).replace(".mlp.", ".", 1)
    for theirs, ours in (
        ("prompt_learner.ctx", "context"),
        ("prompt_learner.token_prefix", "start"),
        ("prompt_learner.token_suffix", "description"),
        ("image_encoder.", "clip.visual."),
        ("text_encoder.", "clip."),
    ):
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def load_released_emotion(path: Path) -> ReleasedEmotion:
    """Fill the network from a CERL checkpoint of the release.

    Returns:
        The network, frozen, in eval mode.

    Raises:
        InputError: missing, unreadable, or of another network.
    """
    model, state = ReleasedEmotion(), read_checkpoint(path, "the CERL checkpoints")
    state = {release_emotion_name(name): value.float() for name, value in state.items()}
    check_keys(path, model.state_dict(), state)
    model.load_state_dict(state)
    return model.eval().requires_grad_(False)
