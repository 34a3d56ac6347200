"""CDRL as supervision for any generator: content(source) = content(output), emotion(target) = emotion(output)."""

import json
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from cdrl.config import data_root, stage_folder
from cdrl.errors import InputError
from cdrl.models.content import ContentEncoder
from cdrl.models.emotion import EmotionEncoder
from cdrl.models.released_vision import vision_prior
from cdrl.priors.language import LanguagePrior
from cdrl.priors.vision import VisionPrior
from cdrl.stage import RESULTS, read_json
from cdrl.vocabulary import emotion_index

REACH = 2  # frames that content guidance needs on each side
MOUTH = (0.25, 0.6, 0.75, 0.93)  # where the mouth of an aligned crop lies, if nobody looked


class Guidance(nn.Module):
    """Frozen content and emotion encoders with their views inside; differentiable to the pixels, always in eval mode.

    Args:
        where: a run's folder (notebooks 02 and 03 done); None takes the committed encoders.

    Example:
        guidance = Guidance("runs/demo")
        loss = guidance.content(source, output, boxes).mean() + guidance.emotion("happy", output).mean()
    """

    def __init__(self, where: Path | None = None):
        super().__init__()
        if where is None:
            content, emotion = data_root() / "weights/guidance/content", data_root() / "weights/guidance/emotion"
        else:
            content, emotion = stage_folder(where, "content"), stage_folder(where, "emotion")
        self.vision = vision_prior(_vision_of(where))
        self.content_encoder = load_encoder(ContentEncoder, content)
        self.language = LanguagePrior(_card(emotion)["language"])
        self.emotion_encoder = load_encoder(EmotionEncoder, emotion)
        extra = load_file(Path(emotion) / "targets.safetensors")
        self.register_buffer("text", extra["text"])  # (8, D): CERL's learnt prompts
        self.register_buffer("prototypes", extra["prototypes"])  # (8, 3, D): training clips by label and level
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Guidance":
        """Frozen: stays in eval mode, also inside a generator that is put into training mode."""
        return super().train(False)

    def content_embedding(self, images: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """(B, T, 3, H, W) RGB in [0, 1], (B, 4) mouth boxes -> (B, T - 4, D), image only.

        One embedding for every frame with two neighbours on each side; where the sequence ends inside the encoder's window,
        its last frame is held, as CCRL saw it in training.
        """
        batch, frames = images.shape[:2]
        if frames < 2 * REACH + 1:
            raise InputError(f"content guidance needs at least {2 * REACH + 1} frames, got {frames}")
        features = self.vision(images.flatten(0, 1), boxes.repeat_interleave(frames, 0))
        steps = torch.arange(self.content_encoder.window) - self.content_encoder.window // 2
        index = (torch.arange(REACH, frames - REACH)[:, None] + steps).clamp(0, frames - 1)
        windows = [x.view(batch, frames, -1)[:, index] for x in features]  # (B, T - 4, W, D)
        return self.content_encoder(*[x.flatten(0, 1) for x in windows]).view(batch, len(index), -1)

    def emotion_embedding(self, images: torch.Tensor, boxes: torch.Tensor | None = None) -> torch.Tensor:
        """(B, T, 3, H, W) RGB in [0, 1], (B, 4) mouth boxes -> (B, D), pooled over the frames given."""
        batch, frames = images.shape[:2]
        if boxes is None:
            boxes = images.new_tensor(MOUTH).expand(batch, -1)
        face, mouth = self.vision(images.flatten(0, 1), boxes.repeat_interleave(frames, 0))
        same = self.language.embedded and isinstance(self.vision, VisionPrior)  # the embedded CLIP's image tower is the face backbone
        shown = face if same else self.language.image_features(images.flatten(0, 1))
        return self.emotion_encoder(torch.cat([shown, mouth], -1).view(batch, frames, -1))

    def content(self, source: torch.Tensor, output: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """1 - cos(content(source), content(output)), mean over windows.

        Args:
            source, output: (B, T >= 5, 3, H, W) RGB in [0, 1]. boxes: (B, 4), found on the source, used for both.

        Returns:
            (B,) in [0, 2]; 0 where output is the source, about 1 for another moment of speech.
        """
        with torch.no_grad():
            wanted = self.content_embedding(source, boxes)
        return 1 - (wanted * self.content_embedding(output, boxes)).sum(-1).mean(1)

    def target(self, wanted, intensity: float = 1.0) -> torch.Tensor:
        """The embedding that an emotion asks for.

        Args:
            wanted: a label, (T, 3, H, W) frames of a reference, or a tensor (D,) or (B, D) passed through.
            intensity: for a label, 1/3 to 1: levels 1 to 3 of the training clips, interpolated.

        Returns:
            (D,) or (B, D), unit norm.
        """
        if isinstance(wanted, torch.Tensor):
            return self.emotion_embedding(wanted[None])[0] if wanted.ndim == 4 else wanted
        level = min(max(3 * intensity - 1, 0.0), 2.0)
        low = min(int(level), 1)
        rows = self.prototypes[emotion_index(wanted)]
        return F.normalize(rows[low] + (level - low) * (rows[low + 1] - rows[low]), dim=-1)

    def emotion(self, wanted, output: torch.Tensor, intensity: float = 1.0, boxes: torch.Tensor | None = None) -> torch.Tensor:
        """1 - cos(emotion(target), emotion(output)).

        Args:
            wanted, intensity: see `target`. output: (B, T, 3, H, W) RGB in [0, 1]. boxes: (B, 4) mouth boxes, found on the
                source; where None the place of an aligned crop's mouth.

        Returns:
            (B,) in [0, 2].
        """
        return 1 - (self.emotion_embedding(output, boxes) * self.target(wanted, intensity)).sum(-1)


def _vision_of(where: Path | None) -> str:
    """The vision prior that a run's encoders were trained on."""
    path = stage_folder(where, "priors") / RESULTS if where is not None else None
    return read_json(path)["stages"]["priors"]["config"].get("vision", "embedded") if path and path.exists() else "embedded"


def _card(folder: Path) -> dict:
    path = Path(folder) / "model.json"
    if not path.exists():
        raise InputError(f"{path}: no trained encoder here; run notebooks 02 and 03 (or `cdrl run`) first")
    return json.loads(path.read_text())


def load_encoder(kind: type, folder: Path) -> nn.Module:
    """The encoder of class `kind` that training left in `folder`, frozen, in eval mode.

    Raises:
        InputError: where there is none.
    """
    model = kind(**_card(folder)["model"])
    model.load_state_dict(load_file(Path(folder) / "model.safetensors"))
    return model.eval().requires_grad_(False)
