"""The emotion prior's outside knowledge: a vision-language model (CLIP), embedded or any open_clip model by name.

The embedded one is an open_clip `CLIP` with a tiny text tower and the frozen face backbone as its image tower, trained on
captions of facial ACTIONS ("brows lowered, lips pressed"). Emotions are never named to it: they meet it only as the action
descriptions of CERL's prompts. Its text tower knows the words of `WORDS` and no others.
"""

import re
from difflib import get_close_matches

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import nn

from cdrl.core.checkpoint import load_card, load_weights, weights_path
from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS
from cdrl.core.weight_files import checksum
from cdrl.priors.clip_models import open_clip_model, text_tower
from cdrl.priors.vision import face_backbone, face_view

# Phrase <- mean of these actions; what a caption can say.
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
DEGREES = ((0.12, "slightly"), (0.3, ""), (0.6, "strongly"))
RELAXED = "face relaxed"
WORDS = tuple(
    sorted(
        {word for phrase in (*PHRASES, RELAXED, "slightly strongly and") for word in phrase.split()}
    )
)

# CERL's prompts: facial cues per emotion, in words the embedded tower knows, alphabetical like EMOTIONS.
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


def caption(coefficients: np.ndarray, random: np.random.Generator) -> str:
    """Say in words what a face does, the phrases in random order.

    Args:
        coefficients: (52,) facial actions in [0, 1], order `ACTIONS`.

    Returns:
        For example "lip corners strongly up, cheeks raised"; zeros give "face relaxed".
    """
    said = []
    for phrase, actions in PHRASES.items():
        values = [coefficients[ACTIONS.index(name)] for name in actions]
        value = max(values) if phrase.startswith("one") else float(np.mean(values))
        degree = [word for threshold, word in DEGREES if value >= threshold]
        if degree:
            *start, end = phrase.split()
            said.append(" ".join([*start, degree[-1], end]) if degree[-1] else phrase)
    return ", ".join(random.permutation(said)) if said else RELAXED


class WordTokenizer:
    """Whole words of `WORDS` -> ids; 0 pads, then the start token, the words, and last (the largest id) the end token."""

    def __init__(self, words: tuple = WORDS, context_length: int = CONTEXT_LENGTH):
        self.words, self.context_length = words, context_length
        self.start, self.end = 1, len(words) + 2
        self.ids = {word: number + 2 for number, word in enumerate(words)}

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Texts -> (B, context_length) int64.

        Raises:
            InputError: naming the first word that the tower never learnt.
        """
        out = torch.zeros(len(texts), self.context_length, dtype=torch.long)
        for row, text in enumerate(texts):
            words = re.findall(r"[^\s,.;]+", text.lower())
            for word in words:
                if word not in self.ids:
                    near = get_close_matches(word, self.words, n=1)
                    hint = f" (did you mean {near[0]!r}?)" if near else ""
                    raise InputError(
                        f"the embedded language prior does not know the word {word!r}{hint}: it knows "
                        f"{', '.join(self.words)}; any other words need a real CLIP (language=ViT-B-32/openai)"
                    )
            if len(words) > self.context_length - 10:
                raise InputError(
                    f"text of {len(words)} words: at most {self.context_length - 10} are accepted"
                )
            ids = [self.start, *(self.ids[word] for word in words), self.end]
            out[row, : len(ids)] = torch.tensor(ids)
        return out


class FaceTower(nn.Module):
    """The frozen face backbone as a CLIP image tower: a crop -> its features -> the shared space."""

    def __init__(self, embed_dim: int):
        super().__init__()
        self.backbone = face_backbone()
        self.project = nn.Sequential(nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, embed_dim))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) RGB in [0, 1] -> (B, embed_dim)."""
        return self.project(self.backbone(face_view(images)))


def tiny_clip(embed_dim: int = 128, width: int = 96, layers: int = 3) -> CLIP:
    """The embedded CLIP, untrained: open_clip's own class, a small text tower over `WORDS`, `FaceTower` for images."""
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
    model: CLIP, ids: torch.Tensor, context: torch.Tensor | None = None
) -> torch.Tensor:
    """The text tower; a causal one on no more positions than needed, because padding behind the end changes nothing there.

    Args:
        ids: (B, L) tokens, the end token the largest id of its row. context: (B, M, W) embeddings put after the start token.

    Returns:
        (B, embedding), unit norm.
    """
    tower = text_tower(model)
    ids = ids.to(tower.token_embedding.weight.device)
    words, end = tower.token_embedding(ids), ids.argmax(1)
    if context is not None:
        words, end = torch.cat([words[:, :1], context, words[:, 1:]], 1), end + context.shape[1]
    positions, causal = tower.positional_embedding, tower.attn_mask is not None
    length = min(int(end.max()) + 1 if causal else words.shape[1], len(positions))
    words, end = words[:, :length] + positions[:length], end.clamp(max=length - 1)
    hidden = tower.transformer(
        words, attn_mask=tower.attn_mask[:length, :length] if causal else None
    )
    hidden = tower.ln_final(hidden)[torch.arange(len(ids)), end]
    project = tower.text_projection
    return F.normalize(
        project(hidden) if isinstance(project, nn.Module) else hidden @ project, dim=-1
    )


class LanguagePrior(nn.Module):
    """A frozen vision-language model with its own transform and tokenizer.

    Args:
        name: `embedded`, a .safetensors path of a trained `tiny_clip`, or MODEL/PRETRAINED of open_clip
            (`ViT-B-32/openai`, the release's; `ViT-B-32/random` builds it with weights drawn from seed 0, for tests).
        weights: folder or file of an open_clip model's weights (see `cdrl.priors.sources`).

    Attributes:
        features: length of `image_features`. embedding: length of the shared space. identity: name and sha256.

    Raises:
        InputError: unknown model, or weights that are not at hand.
    """

    def __init__(self, name: str = "embedded", weights: str = ""):
        super().__init__()
        self.name = name
        self.embedded = name == "embedded" or name.endswith(".safetensors")
        if self.embedded:
            stored = "language_prior" if name == "embedded" else name
            self.model = load_weights(stored, tiny_clip(**load_card(stored)["model"]))
            self.identity = {"name": stored, "sha256": checksum(weights_path(stored))}
            self.tokenize, self.features, self.embedding = (
                WordTokenizer(),
                256,
                self.model.text_projection.shape[1],
            )
        else:
            self.model, self.tokenize, pictures, self.identity = open_clip_model(name, weights)
            self.size, self.interpolation = pictures["size"], pictures["interpolation"]
            self.register_buffer(
                "mean", torch.tensor(pictures["mean"])[:, None, None], persistent=False
            )
            self.register_buffer(
                "std", torch.tensor(pictures["std"])[:, None, None], persistent=False
            )
            project = text_tower(self.model).text_projection
            self.features = self.embedding = (
                project.out_features if isinstance(project, nn.Linear) else project.shape[1]
            )
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "LanguagePrior":
        """Frozen: stays in eval mode."""
        return super().train(False)

    def image_features(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) RGB in [0, 1] -> (B, features), differentiable to the pixels."""
        if self.embedded:
            return self.model.visual.backbone(face_view(images))
        images = F.interpolate(
            images, self.size, mode=self.interpolation, antialias=True, align_corners=False
        )
        return self.model.encode_image((images - self.mean) / self.std)

    def project(self, features: torch.Tensor) -> torch.Tensor:
        """(B, features) -> (B, embedding), unit norm: the prior's own zero-shot image embedding."""
        return F.normalize(
            self.model.visual.project(features) if self.embedded else features, dim=-1
        )

    def text_embedding(self, texts: list[str]) -> torch.Tensor:
        """Texts -> (B, embedding), unit norm."""
        ids = self.tokenize(texts).to(text_tower(self.model).token_embedding.weight.device)
        return F.normalize(self.model.encode_text(ids), dim=-1)

    def prompt_embedding(self, context: torch.Tensor, texts: list[str]) -> torch.Tensor:
        """Encode [start, context tokens, text, end]: learnable prompts (CoOp), differentiable to the context.

        Args:
            context: (K, M, W) token embeddings, put before each text.
            texts: K descriptions.

        Returns:
            (K, embedding), unit norm. With M = 0 it equals `text_embedding`.
        """
        return encode_tokens(self.model, self.tokenize(texts), context)

    @property
    def token_width(self) -> int:
        """W, the length of one token embedding."""
        return text_tower(self.model).token_embedding.weight.shape[1]
