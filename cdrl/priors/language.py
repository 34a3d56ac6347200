"""The language prior: a vision-language model (CLIP), embedded or any open_clip model by name.

The embedded one is an open_clip `CLIP` with a tiny text tower and the frozen face backbone as its
image tower, trained on captions of facial ACTIONS ("brows lowered, lips pressed"). Its captions
name no emotion: emotions come in only as the action descriptions of CERL's prompts. Its text tower
knows the words of `WORDS` and no others.
"""

import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.checkpoint import freeze, load_network, weights_path
from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS
from cdrl.core.weight_files import checksum
from cdrl.priors.clip_models import open_clip_model, text_tower
from cdrl.priors.vision import face_backbone, face_view

if TYPE_CHECKING:
    from open_clip.model import CLIP

# Phrases of a caption, and the actions whose mean decides on each.
PHRASES = {
    "brows lowered": ("browDownLeft", "browDownRight"),
    "inner brows raised": ("browInnerUp",),
    "outer brows raised": ("browOuterUpLeft", "browOuterUpRight"),
    "eyes closed": ("eyeBlinkLeft", "eyeBlinkRight"),
    "eyes wide": ("eyeWideLeft", "eyeWideRight"),
    "eyes narrowed": ("eyeSquintLeft", "eyeSquintRight"),
    "cheeks raised": ("cheekSquintLeft", "cheekSquintRight"),
    "nose wrinkled": ("noseSneerLeft", "noseSneerRight"),
    "jaw open": ("jawOpen",),
    "lip corners up": ("mouthSmileLeft", "mouthSmileRight"),
    "lip corners down": ("mouthFrownLeft", "mouthFrownRight"),
    "lips stretched": ("mouthStretchLeft", "mouthStretchRight"),
    "lips pressed": ("mouthPressLeft", "mouthPressRight"),
    "upper lip raised": ("mouthUpperUpLeft", "mouthUpperUpRight"),
    "lower lip lowered": ("mouthLowerDownLeft", "mouthLowerDownRight"),
    "lips rounded": ("mouthFunnel", "mouthPucker"),
    "chin raised": ("mouthShrugLower",),
    "one lip corner tightened": ("mouthDimpleLeft", "mouthDimpleRight"),
}
# Least value of a phrase, and the word that tells its degree.
DEGREES = ((0.12, "slightly"), (0.3, ""), (0.6, "strongly"))
RELAXED = "face relaxed"


def _vocabulary() -> tuple[str, ...]:
    """Collect the words of all captions, sorted."""
    words = {"slightly", "strongly", "and"}
    for phrase in (*PHRASES, RELAXED):
        words.update(phrase.split())
    return tuple(sorted(words))


WORDS = _vocabulary()

# CERL's prompts: facial cues of each emotion, in the words of the embedded text tower, alphabetical
# like EMOTIONS.
DESCRIPTIONS = {
    "angry": "brows strongly lowered, eyes narrowed, lips pressed, upper lip slightly raised",
    "contempt": "one lip corner tightened, eyes slightly narrowed, lip corners slightly up",
    "disgusted": "nose strongly wrinkled, upper lip raised, brows lowered, cheeks raised",
    "fear": "inner brows raised, eyes strongly wide, lips stretched, jaw slightly open",
    "happy": "lip corners strongly up, cheeks raised, eyes slightly narrowed",
    "neutral": "face relaxed",
    "sad": "inner brows strongly raised, lip corners down, chin raised, eyes slightly closed",
    "surprised": "inner brows raised, outer brows strongly raised, eyes wide, jaw open",
}
CONTEXT_LENGTH = 64
CONTEXT_RESERVE = 10  # tokens of a text that are kept for start, end and context


def caption(coefficients: np.ndarray, random: np.random.Generator) -> str:
    """Describe in words what a face does, the phrases in random order.

    Args:
        coefficients: (52,) facial actions in [0, 1], order `ACTIONS`.
        random: draws the order.

    Returns:
        For example "lip corners strongly up, cheeks raised"; zeros give "face relaxed".
    """
    phrases = []
    for phrase, actions in PHRASES.items():
        values = [coefficients[ACTIONS.index(name)] for name in actions]
        is_one_sided = phrase.startswith("one")
        value = max(values) if is_one_sided else float(np.mean(values))

        degrees = [word for threshold, word in DEGREES if value >= threshold]
        if degrees:
            phrases.append(_with_degree(phrase, degrees[-1]))

    if not phrases:
        return RELAXED

    return ", ".join(random.permutation(phrases))


def _with_degree(phrase: str, degree: str) -> str:
    """Put a word of degree before the last word of a phrase."""
    if not degree:
        return phrase
    *start, end = phrase.split()
    return " ".join([*start, degree, end])


class WordTokenizer:
    """Whole words -> ids: 0 pads, then the start token, the words, and last the end token.

    Args:
        words: that the tower knows.
        context_length: tokens of a text, with start, end and padding.
    """

    def __init__(self, words: tuple[str, ...] = WORDS, context_length: int = CONTEXT_LENGTH):
        self.words = words
        self.context_length = context_length
        self.start = 1
        self.end = len(words) + 2
        self.ids = {word: number for number, word in enumerate(words, 2)}

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Texts -> (B, context_length) int64.

        Raises:
            InputError: a text that is too long, or a word that the tower never learnt, which is
                named.
        """
        tokens = torch.zeros(len(texts), self.context_length, dtype=torch.long)
        for row, text in enumerate(texts):
            ids = self._text_ids(text)
            tokens[row, : len(ids)] = torch.tensor(ids)
        return tokens

    def _text_ids(self, text: str) -> list[int]:
        words = re.findall(r"[^\s,.;]+", text.lower())
        word_ids = [self._word_id(word) for word in words]
        longest = self.context_length - CONTEXT_RESERVE
        if len(words) > longest:
            raise InputError(f"text of {len(words)} words: at most {longest} are accepted")
        return [self.start, *word_ids, self.end]

    def _word_id(self, word: str) -> int:
        if word in self.ids:
            return self.ids[word]
        similar = get_close_matches(word, self.words, n=1)
        hint = f" (did you mean {similar[0]!r}?)" if similar else ""
        raise InputError(
            f"the embedded language prior does not know the word {word!r}{hint}: it knows "
            f"{', '.join(self.words)}; any other words need a real CLIP (language=ViT-B-32/openai)"
        )


class FaceTower(nn.Module):
    """The frozen face backbone as a CLIP image tower: crop -> features -> the shared space.

    Args:
        embed_dim: length of the shared space.
    """

    def __init__(self, embed_dim: int):
        super().__init__()
        self.backbone = face_backbone()
        self.project = nn.Sequential(nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, embed_dim))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) RGB in [0, 1] -> (B, embed_dim)."""
        features = self.backbone(face_view(images))
        return self.project(features)


def tiny_clip(embed_dim: int = 128, width: int = 96, layers: int = 3) -> "CLIP":
    """Build the embedded CLIP, untrained: open_clip's class with `FaceTower` for images.

    Args:
        embed_dim: length of the shared space.
        width: of the text tower.
        layers: of the text tower.
    """
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg  # seconds, and few paths need it

    text = CLIPTextCfg(
        context_length=CONTEXT_LENGTH,
        vocab_size=len(WORDS) + 3,
        width=width,
        heads=4,
        layers=layers,
    )
    vision = CLIPVisionCfg(image_size=32, patch_size=32, width=32, layers=1, head_width=32)
    model = CLIP(embed_dim, vision, text)
    model.visual = FaceTower(embed_dim)

    return model


def encode_tokens(
    model: nn.Module, ids: torch.Tensor, context: torch.Tensor | None = None
) -> torch.Tensor:
    """Run the text tower on tokens.

    A causal tower runs on no more positions than needed, because padding behind the end changes
    nothing before it.

    Args:
        model: an open_clip model.
        ids: (B, L) tokens; the end token is the largest id of its row.
        context: (B, M, W) embeddings put behind the start token.

    Returns:
        (B, embedding), unit norm.
    """
    tower = text_tower(model)
    ids = ids.to(tower.token_embedding.weight.device)
    words = tower.token_embedding(ids)
    end = ids.argmax(1)

    if context is not None:
        words = torch.cat([words[:, :1], context, words[:, 1:]], 1)
        end = end + context.shape[1]

    positions = tower.positional_embedding
    _check_length(ids, end, len(positions))
    is_causal = tower.attn_mask is not None
    needed = int(end.max()) + 1 if is_causal else words.shape[1]
    length = min(needed, len(positions))

    words = words[:, :length] + positions[:length]

    mask = tower.attn_mask[:length, :length] if is_causal else None
    hidden = tower.transformer(words, attn_mask=mask)
    hidden = tower.ln_final(hidden)
    text = hidden[torch.arange(len(ids)), end]

    return F.normalize(_project_text(tower, text), dim=-1)


def _check_length(ids: torch.Tensor, end: torch.Tensor, positions: int) -> None:
    """Refuse texts whose end, behind the context, lies outside the tower.

    Args:
        ids: (B, L) tokens.
        end: (B,) position of the end token, with the context counted.
        positions: that the tower has.
    """
    longest = int(end.max()) + 1
    if longest > positions:
        context = longest - int(ids.argmax(1).max()) - 1
        raise InputError(
            f"text of {longest - context} tokens behind {context} of learnt context: the language "
            f"prior reads {positions} tokens; give a text of {positions - context} tokens at most, "
            "start and end counted"
        )


def _project_text(tower: Any, text: torch.Tensor) -> torch.Tensor:
    """(B, W) -> (B, embedding), by a layer or a matrix."""
    project = tower.text_projection
    return project(text) if isinstance(project, nn.Module) else text @ project


class LanguagePrior(nn.Module):
    """A frozen vision-language model with its own transform and tokenizer.

    Args:
        name: `embedded`, a .safetensors path of a trained `tiny_clip`, or MODEL/PRETRAINED of
            open_clip (`ViT-B-32/openai`, the release's; `ViT-B-32/random` has weights drawn from
            seed 0, for tests).
        weights: folder or file of an open_clip model's weights (see `cdrl.priors.sources`).

    Attributes:
        embedded: whether it is a `tiny_clip`.
        features: length of `image_features`.
        embedding: length of the shared space.
        identity: name and sha256 of the weights; features are stored under it.

    Raises:
        InputError: unknown model, or weights that are missing.
    """

    model: Any
    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, name: str = "embedded", weights: str = ""):
        super().__init__()

        self.name = name
        self.embedded = name == "embedded" or name.endswith(".safetensors")
        self.tokenize: Callable[[list[str]], torch.Tensor]
        if self.embedded:
            self._load_embedded("language_prior" if name == "embedded" else name)
        else:
            self._load_open_clip(name, weights)
        freeze(self)

    def _load_embedded(self, weights: str) -> None:
        self.model = load_network(tiny_clip, weights)
        self.identity = {"name": weights, "sha256": checksum(weights_path(weights))}
        self.tokenize = WordTokenizer()
        self.features = 256
        self.embedding = self.model.text_projection.shape[1]

    def _load_open_clip(self, name: str, weights: str) -> None:
        clip = open_clip_model(name, weights)
        self.model = clip.model
        self.tokenize = clip.tokenize
        self.identity = clip.identity
        self.size = clip.size
        self.interpolation = clip.interpolation

        mean = torch.tensor(clip.mean)[:, None, None]
        std = torch.tensor(clip.std)[:, None, None]
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)

        project = text_tower(self.model).text_projection
        is_layer = isinstance(project, nn.Linear)
        self.embedding = project.out_features if is_layer else project.shape[1]
        self.features = self.embedding

    def image_features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) RGB in [0, 1] -> (B, features), differentiable to the pixels."""
        if self.embedded:
            return self.model.visual.backbone(face_view(images))
        images = F.interpolate(
            images, self.size, mode=self.interpolation, antialias=True, align_corners=False
        )
        return self.model.encode_image((images - self.mean) / self.std)

    def project(self, features: torch.Tensor) -> torch.Tensor:
        """Project image features to the prior's own zero-shot image embedding.

        Args:
            features: (B, features).

        Returns:
            (B, embedding), unit norm.
        """
        if self.embedded:
            features = self.model.visual.project(features)
        return F.normalize(features, dim=-1)

    def text_embedding(self, texts: list[str]) -> torch.Tensor:
        """Encode texts: (B, embedding), unit norm."""
        device = text_tower(self.model).token_embedding.weight.device
        ids = self.tokenize(texts).to(device)
        return F.normalize(self.model.encode_text(ids), dim=-1)

    def prompt_embedding(self, context: torch.Tensor, texts: list[str]) -> torch.Tensor:
        """Encode [start, context tokens, text, end]: learnable prompts (CoOp, arXiv:2109.01134).

        Args:
            context: (K, M, W) token embeddings, put before each text.
            texts: K descriptions.

        Returns:
            (K, embedding), unit norm, differentiable to the context. With M = 0 it equals
            `text_embedding`.
        """
        return encode_tokens(self.model, self.tokenize(texts), context)

    @property
    def token_width(self) -> int:
        """W, the length of one token embedding."""
        return text_tower(self.model).token_embedding.weight.shape[1]
