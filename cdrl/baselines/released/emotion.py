"""CERL as released: a head and learnable context for each label, at full size from a checkpoint.

Our names on the left, the release's state dict on the right (`load_released_emotion` applies it):

    heads.{0..6}.{0,2,4}.*   mlps.{0..6}.mlp.{0,2,4}.*
    context                  prompt_learner.ctx (7, 8, 512)
    start, description       prompt_learner.token_prefix (7, 1, 512), prompt_learner.token_suffix
                             (7, 68, 512)
    clip.visual.*            image_encoder.*   OpenAI's CLIP ViT-B/32
    clip.*                   text_encoder.*    its text tower, without the token embedding
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from cdrl.baselines.released.networks import check_keys
from cdrl.core.weight_files import read_state

# Name in the release -> our name, of the beginnings of parameters' names.
_RENAMED = {
    "prompt_learner.ctx": "context",
    "prompt_learner.token_prefix": "start",
    "prompt_learner.token_suffix": "description",
    "image_encoder.": "clip.visual.",
    "text_encoder.": "clip.",
}


class LabelHeads(nn.Module):
    """One MLP for each label, applied to the image of its own label only.

    So head i may put a constant at its own text without the image: re-implemented on a small
    rendered corpus, the loss can be met from the label alone.

    Args:
        features: length of the image features, 512 in the release.
        embedding: D.
        labels: K.
        hidden: width.

    Example:
        LabelHeads(512, 512)(torch.zeros(2, 7, 512)).shape == (2, 7, 512)
    """

    def __init__(self, features: int, embedding: int, labels: int = 7, hidden: int = 256):
        super().__init__()
        self.heads = nn.ModuleList()
        for _ in range(labels):
            self.heads.append(_head(features, embedding, hidden))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, K, features), image k of label k -> (B, K, D), unit norm."""
        outputs = []
        for label, head in enumerate(self.heads):
            output = head(images[:, label])
            outputs.append(output)

        embedding = torch.stack(outputs, 1)

        return F.normalize(embedding, dim=-1)


def _head(features: int, embedding: int, hidden: int) -> nn.Sequential:
    """Make an MLP of three layers."""
    head = nn.Sequential()
    for layer_features in (features, hidden):
        head.append(nn.Linear(layer_features, hidden))
        head.append(nn.ReLU())

    head.append(nn.Linear(hidden, embedding))
    return head


class ReleasedEmotion(LabelHeads):
    """The released CERL at full size.

    CLIP ViT-B/32, 8 context tokens for each of 7 classes, 7 heads 512-256-256-512.
    """

    clip: Any
    start: torch.Tensor
    description: torch.Tensor

    def __init__(self) -> None:
        import open_clip  # seconds, and few paths need it

        super().__init__(512, 512)

        self.clip = open_clip.create_model("ViT-B-32-quickgelu", pretrained=None)
        del self.clip.token_embedding
        del self.clip.logit_scale

        self.context = nn.Parameter(torch.zeros(7, 8, 512))
        self.register_buffer("start", torch.zeros(7, 1, 512))
        self.register_buffer("description", torch.zeros(7, 68, 512))

    def text(self) -> torch.Tensor:
        """Encode the prompts: the emotion prior.

        As in the release no positional embedding is added. The end of each prompt is where its
        padding begins.

        Returns:
            (7, 512), unit norm, angry to surprised.
        """
        clip = self.clip
        tokens = torch.cat([self.start, self.context, self.description], 1)
        hidden = clip.transformer(tokens, attn_mask=clip.attn_mask)
        hidden = clip.ln_final(hidden)

        prompts = torch.arange(len(tokens))
        text = hidden[prompts, self._ends()]
        text = text @ clip.text_projection

        return F.normalize(text, dim=-1)

    def _ends(self) -> torch.Tensor:
        """(7,) position of each prompt's end token: the last before the padding."""
        padding_token = self.description[:, -1:]
        is_padding = (self.description == padding_token).all(-1)  # (7, 68)

        from_the_end = is_padding.flip(1).long()
        padding = from_the_end.cumprod(1).sum(1)

        before_description = 1 + self.context.shape[1]
        length = before_description + is_padding.shape[1]

        return length - padding - 1

    def image_features(self, images: torch.Tensor) -> torch.Tensor:
        """Encode images, as the release multiplies them with the prior of a label.

        Args:
            images: (B, 3, 224, 224) in [-1, 1].

        Returns:
            (B, 512), not normalised.
        """
        return self.clip.visual(images)


def release_emotion_name(name: str) -> str:
    """Translate a parameter's name in the release's CERL to ours; an unknown name stays.

    >>> release_emotion_name("mlps.3.mlp.2.weight")
    'heads.3.2.weight'
    """
    if name.startswith("mlps."):
        name = name.replace("mlps.", "heads.", 1)
        return name.replace(".mlp.", ".", 1)
    for theirs, ours in _RENAMED.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    return name


def load_released_emotion(path: Path) -> ReleasedEmotion:
    """Fill the network from a CERL checkpoint of the release.

    Args:
        path: of the checkpoint; nothing in it is executed.

    Returns:
        The network, frozen, in eval mode.

    Raises:
        InputError: missing, unreadable, or of another network.
    """
    model = ReleasedEmotion()
    state = {}
    for name, value in read_state(path).items():
        state[release_emotion_name(name)] = value

    check_keys(path, model.state_dict(), state)
    model.load_state_dict(state)

    return model.eval().requires_grad_(False)
