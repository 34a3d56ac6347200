"""CDRL as supervision for any generator: content(source) = content(output), emotion(target) = emotion(output)."""

import json
import math
import re
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from cdrl.core.errors import InputError
from cdrl.core.paths import data_root
from cdrl.core.settings import stage_folder
from cdrl.core.stage import made_with
from cdrl.core.vocabulary import EMOTIONS, emotion_index
from cdrl.corpora.batches import check_boxes, check_frames
from cdrl.media.mouths import MOUTH, mouth_box
from cdrl.models.content import ContentEncoder
from cdrl.models.emotion import EmotionEncoder
from cdrl.priors.audio import EmbeddedAudioPrior
from cdrl.priors.vision import vision_prior
from cdrl.priors.language import DESCRIPTIONS, LanguagePrior
from cdrl.priors.vision import VisionPrior

CONTENT_MARGIN = 2  # frames that content guidance needs on each side
MIN_EMOTION_FRAMES = 3  # frames that emotion guidance needs: its encoder pools over time
TEMPERATURE = 0.07  # CERL's own, for what it is to read


class Guidance(nn.Module):
    """Frozen content and emotion encoders with their views inside; differentiable to the pixels, always in eval mode.

    Frames are face crops framed as `cdrl.media.faces.crop` frames them, RGB in [0, 1], any H and W from 48.

    Args:
        where: None or "guidance" for the committed encoders; a run's folder (notebooks 02 and 03 done); or a folder that holds
            content/ and emotion/.

    Example:
        guidance = Guidance()
        boxes = guidance.mouth_boxes(source)                         # (B, T, 3, H, W) -> (B, 4), found once
        loss = guidance.content(source, output, boxes=boxes) + guidance.emotion("happy", output, boxes=boxes)     # (B,)

    Raises:
        InputError: where no trained encoders are.
    """

    def __init__(self, where: str | Path | None = None):
        super().__init__()
        content, emotion = _folders(where)
        self.vision = vision_prior(
            "embedded" if where is None else made_with(where, "priors", "vision", "embedded")
        )
        self.crop = (
            "aligned" if where is None else made_with(where, "corpus", "crop", "aligned")
        )  # that its encoders saw
        self.content_encoder = load_encoder(ContentEncoder, content)
        self.language = LanguagePrior(_card(emotion)["language"])
        self.emotion_encoder = load_encoder(EmotionEncoder, emotion)
        extra = _tensors(Path(emotion) / "targets.safetensors")
        self.register_buffer("text", extra["text"])  # (8, D): CERL's learnt prompts
        self.register_buffer(
            "prototypes", extra["prototypes"]
        )  # (8, 3, D): training clips by label and level; 0 where none was
        self._texts = {}
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "Guidance":
        """Frozen: stays in eval mode, also inside a generator that is put into training mode."""
        return super().train(False)

    @property
    def emotions(self) -> tuple:
        """The labels of which the emotion encoder saw clips."""
        return tuple(
            name for name, seen in zip(EMOTIONS, self._known().tolist(), strict=True) if seen
        )

    def mouth_boxes(self, images: torch.Tensor) -> torch.Tensor:
        """Where the mouth is in each clip, by the kit's face mesh; found on the source, it serves for the output too.

        Args:
            images: (B, T, 3, H, W) RGB in [0, 1].

        Returns:
            (B, 4) left, top, right, bottom, 0 to 1; without a gradient. `MOUTH`, the place in an aligned crop, for a clip in
            which no face is found.
        """
        self._check("source", images, 1)
        frames = (
            (images.detach().clamp(0, 1) * 255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy()
        )
        return images.new_tensor(np.array([mouth_box(clip) for clip in frames]))

    def content_embedding(
        self, images: torch.Tensor, boxes: torch.Tensor, audio: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, T, 3, H, W) RGB in [0, 1], (B, 4) mouth boxes -> (B, T - 4, D), image only unless (B, T, A) audio is given.

        One embedding for every frame with two neighbours on each side; where the sequence ends inside the encoder's window,
        its last frame is held, as CCRL saw it in training.
        """
        batch, frames = images.shape[:2]
        features = [*self.vision(images.flatten(0, 1), boxes.repeat_interleave(frames, 0))]
        features += [] if audio is None else [audio.flatten(0, 1)]
        steps = torch.arange(self.content_encoder.window) - self.content_encoder.window // 2
        index = (torch.arange(CONTENT_MARGIN, frames - CONTENT_MARGIN)[:, None] + steps).clamp(0, frames - 1)
        windows = [x.view(batch, frames, -1)[:, index] for x in features]  # (B, T - 4, W, D)
        return self.content_encoder(*[x.flatten(0, 1) for x in windows]).view(batch, len(index), -1)

    def emotion_embedding(
        self, images: torch.Tensor, boxes: torch.Tensor | None = None
    ) -> torch.Tensor:
        """(B, T, 3, H, W) RGB in [0, 1], (B, 4) mouth boxes (None: `MOUTH`) -> (B, D), pooled over the frames given."""
        batch, frames = images.shape[:2]
        if boxes is None:
            boxes = images.new_tensor(MOUTH).expand(batch, -1)
        face, mouth = self.vision(images.flatten(0, 1), boxes.repeat_interleave(frames, 0))
        same = self.language.embedded and isinstance(
            self.vision, VisionPrior
        )  # the embedded CLIP's image tower is the face backbone
        shown = face if same else self.language.image_features(images.flatten(0, 1))
        return self.emotion_encoder(torch.cat([shown, mouth], -1).view(batch, frames, -1))

    def content(
        self,
        source: torch.Tensor,
        output: torch.Tensor,
        audio: torch.Tensor | None = None,
        boxes: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """1 - cos(content(source), content(output)), mean over windows.

        Args:
            source, output: (B, T >= 5, 3, H, W) RGB in [0, 1], of one size or of two.
            audio: None, the image alone decides (the study found that sound adds nothing); or the sound of these frames, (B, S)
                at 16 kHz; or (B, T, A) features of the audio prior that the encoder was trained with.
            boxes: (B, 4) mouth boxes, used for both; None finds them on the source. Boxes may stand third as well.

        Returns:
            (B,) in [0, 2]; 0 where output is the source, about 1 for another moment of speech.

        Raises:
            InputError: for shapes, sizes, numbers of frames and values that are not these.
        """
        if (
            boxes is None
            and isinstance(audio, torch.Tensor)
            and audio.ndim == 2
            and audio.shape[1] == 4
        ):
            audio, boxes = None, audio
        self._check("source", source, 2 * CONTENT_MARGIN + 1)
        self._check("output", output, 2 * CONTENT_MARGIN + 1, source)
        if boxes is None:
            boxes = self.mouth_boxes(source)
        check_boxes(boxes, len(source))
        heard = None if audio is None else self._heard(audio, *source.shape[:2])
        with torch.no_grad():
            wanted = self.content_embedding(source.float(), boxes, heard)
        return 1 - (wanted * self.content_embedding(output.float(), boxes, heard)).sum(-1).mean(1)

    def emotion(
        self,
        wanted,
        output: torch.Tensor,
        intensity: float = 1.0,
        boxes: torch.Tensor | None = None,
        source: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """1 - cos(emotion(target), emotion(output)).

        Args:
            wanted, intensity: see `target`. output: (B, T, 3, H, W) RGB in [0, 1], best T >= 5, at least 3.
            boxes: (B, 4) mouth boxes; None finds them on `source` (B, T, 3, H, W) where that is given, else takes `MOUTH`.

        Returns:
            (B,) in [0, 2]; near 0 where the output shows what is wanted, about .2 to .7 where it shows another emotion.

        Raises:
            InputError: as `content`, and for words that the language prior does not know.
        """
        self._check("output", output, MIN_EMOTION_FRAMES)
        target = self.target(wanted, intensity)
        if target.ndim == 2 and len(target) not in (1, len(output)):
            raise InputError(
                f"emotion: {len(target)} targets for {len(output)} clips; give one, or one per clip"
            )
        if boxes is None and source is not None:
            boxes = self.mouth_boxes(source)
        if boxes is not None:
            check_boxes(boxes, len(output))
        return 1 - (self.emotion_embedding(output.float(), boxes) * target).sum(-1)

    def target(self, wanted, intensity: float = 1.0) -> torch.Tensor:
        """The embedding that an emotion asks for.

        Args:
            wanted: a label; a text (see `mixture`); a list of those, one per clip; frames of a reference, (T, 3, H, W) or
                (B, T, 3, H, W), read with boxes of their own; or an embedding (D,) or (B, D), passed through.
            intensity: for a label or a text, 1/3 to 1: levels 1 to 3 of the training clips, interpolated.

        Returns:
            (D,) or (B, D), unit norm, without a gradient.
        """
        if isinstance(wanted, torch.Tensor) and wanted.ndim in (1, 2):
            if wanted.shape[-1] != self.text.shape[1]:
                raise InputError(
                    f"target {tuple(wanted.shape)}: embeddings of {self.text.shape[1]} numbers, or frames (T, 3, H, W)"
                )
            return wanted
        if isinstance(wanted, torch.Tensor):
            return self._read(wanted)
        if isinstance(wanted, (list, tuple)):
            return torch.stack([self.target(each, intensity) for each in wanted])
        return interpolate_levels(
            torch.einsum("k,kld->ld", self.mixture(wanted), self.prototypes), intensity
        )

    @torch.no_grad()
    def mixture(self, wanted) -> torch.Tensor:
        """How much of each emotion is meant: (8,) weights that sum to 1, order `EMOTIONS`; (B, 8) for (B, T, 3, H, W).

        A text is compared with the descriptions of CERL's prompts (`cdrl.priors.language.DESCRIPTIONS`) in the language prior's
        space, frames (T, 3, H, W) with the nearest prototype of each label; a softmax at CERL's temperature makes weights of it.
        """
        known = self._known()
        if isinstance(wanted, torch.Tensor):
            code = self._read(wanted) if wanted.ndim > 2 else wanted
            alike = torch.einsum("...d,kld->...kl", code, self.prototypes).amax(-1)
        elif isinstance(wanted, str) and wanted in EMOTIONS:
            if wanted not in self.emotions:
                raise InputError(
                    f"emotion {wanted!r}: these encoders saw no clip of it; accepted are {', '.join(self.emotions)}"
                )
            return F.one_hot(torch.tensor(emotion_index(wanted)), len(EMOTIONS)).to(self.prototypes)
        else:
            self._refuse_unknown(wanted)
            if wanted not in self._texts:
                said = self.language.text_embedding(
                    [wanted, *(DESCRIPTIONS[name] for name in EMOTIONS)]
                )
                self._texts[wanted] = said[1:] @ said[0]
            alike = self._texts[wanted].to(known.device)
        return (alike / TEMPERATURE).masked_fill(~known, -math.inf).softmax(-1)

    def _known(self) -> torch.Tensor:
        return self.prototypes.flatten(1).norm(dim=1) > 0

    @torch.no_grad()
    def _read(self, frames: torch.Tensor) -> torch.Tensor:
        """Frames of references, (T, 3, H, W) or (B, T, 3, H, W) -> (D,) or (B, D)."""
        clips = frames[None] if frames.ndim == 4 else frames
        self._check("reference", clips, MIN_EMOTION_FRAMES)
        code = self.emotion_embedding(clips.float(), self.mouth_boxes(clips))
        return code[0] if frames.ndim == 4 else code

    def _refuse_unknown(self, text) -> None:
        """Words that no target can be made of, in one line."""
        words = getattr(
            self.language.tokenize, "words", None
        )  # the embedded prior's; a real CLIP takes any
        said = set(re.findall(r"[^\s,.;]+", text.lower())) if isinstance(text, str) else set()
        if said and (words is None or said <= set(words)):
            return
        near = get_close_matches(str(text).lower(), self.emotions, n=1, cutoff=0.5)
        hint = f" (did you mean {near[0]}?)" if near else ""
        described = "a description in words"
        if words is not None:
            described = f"a description in the words {', '.join(words)} (any others need a real CLIP, priors.language=ViT-B-32/openai)"
        raise InputError(
            f"unknown emotion {text!r}{hint}: accepted are {', '.join(self.emotions)}; frames of a reference, (T, 3, H, W); "
            f"or {described}"
        )

    def _heard(self, audio: torch.Tensor, batch: int, frames: int) -> torch.Tensor:
        """(B, S) sound or (B, T, A) features -> (B, T, A)."""
        length = self.content_encoder.audio.in_features
        if not isinstance(audio, torch.Tensor) or not torch.isfinite(audio).all():
            raise InputError(
                "audio: finite numbers are needed, sound (B, S) at 16 kHz or features (B, T, A)"
            )
        if audio.ndim == 2 and len(audio) == batch and length == 64:
            prior, rate = EmbeddedAudioPrior(), 16_000 * frames / max(1, audio.shape[1])
            return torch.stack(
                [prior(sound.detach().cpu().numpy(), frames, rate) for sound in audio.float()]
            ).to(audio.device)
        if tuple(audio.shape) != (batch, frames, length):
            raise InputError(
                f"audio {tuple(audio.shape)}: features ({batch}, {frames}, {length}) of the audio prior are accepted"
                + (f", or sound ({batch}, S) at 16 kHz" if length == 64 else "")
            )
        return audio.float()

    def _check(
        self, name: str, images: torch.Tensor, fewest: int, like: torch.Tensor | None = None
    ) -> None:
        check_frames(name, images, fewest, like)
        here = self.prototypes.device
        if images.device != here:
            raise InputError(
                f"{name} is on {images.device}, the guidance on {here}: guidance.to({str(images.device)!r}) moves it"
            )


def _folders(where: str | Path | None) -> tuple[Path, Path]:
    """Of the content and of the emotion encoder."""
    folder = (
        data_root() / "weights" / "guidance"
        if where is None or str(where) == "guidance"
        else Path(where)
    )
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; guidance is 'guidance' (the committed encoders), a run's folder, or one with content/ and emotion/"
        )
    if (folder / "content").is_dir() and (folder / "emotion").is_dir():
        return folder / "content", folder / "emotion"
    return stage_folder(folder, "content"), stage_folder(folder, "emotion")


def interpolate_levels(rows: torch.Tensor, intensity: float) -> torch.Tensor:
    """(3, D) embeddings of levels 1 to 3 -> (D,), unit norm, that of an intensity from 1/3 to 1, interpolated.

    Raises:
        InputError: an intensity that is no number.
    """
    if not math.isfinite(intensity):
        raise InputError(
            f"intensity {intensity}: a number from 1/3 (level 1) to 1 (level 3) is needed"
        )
    level = min(max(3 * intensity - 1, 0.0), 2.0)
    low = min(int(level), 1)
    return F.normalize(rows[low] + (level - low) * (rows[low + 1] - rows[low]), dim=-1)


def _card(folder: Path) -> dict:
    path = Path(folder) / "model.json"
    if not path.exists():
        raise InputError(
            f"{path}: no trained encoder here; run notebooks 02 and 03 (or `cdrl run`) first"
        )
    return json.loads(path.read_text())


def _tensors(path: Path) -> dict:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(
            f"{path}: missing or damaged ({reason}); train the encoders again, notebooks 02 and 03"
        ) from error


def load_encoder(kind: type, folder: Path) -> nn.Module:
    """The encoder of class `kind` that training left in `folder`, frozen, in eval mode.

    Raises:
        InputError: where there is none.
    """
    model = kind(**_card(folder)["model"])
    model.load_state_dict(_tensors(Path(folder) / "model.safetensors"))
    return model.eval().requires_grad_(False)
