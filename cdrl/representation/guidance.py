"""CDRL as supervision for any generator.

Two frozen encoders judge an output clip: content(output) should equal content(source), and
emotion(output) should equal emotion(target).
"""

import math
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.checkpoint import freeze, load_card, load_tensors
from cdrl.core.errors import InputError
from cdrl.core.paths import data_root
from cdrl.core.settings import stage_folder
from cdrl.core.stage import made_with
from cdrl.core.vocabulary import EMOTIONS, emotion_index
from cdrl.corpora.batches import check_boxes, check_frames
from cdrl.media.mouths import DEFAULT_MOUTH_BOX, mouth_box
from cdrl.priors.audio import EmbeddedAudioPrior
from cdrl.priors.language import DESCRIPTIONS, LanguagePrior
from cdrl.priors.vision import VisionPrior, vision_prior
from cdrl.representation.components import load_content_encoder, load_emotion_encoder
from cdrl.training.joint import joint_forward

CONTENT_MARGIN = 2  # frames that content guidance needs on each side
MIN_EMOTION_FRAMES = 3  # frames that emotion guidance needs: its encoder pools over time
TEMPERATURE = 0.07  # of CERL; divides cosines before a softmax over emotions
AUDIO_RATE = 16_000  # Hz
EMBEDDED_AUDIO_FEATURES = 64  # length of the embedded audio prior's features

Words = str | Sequence[str]


class Guidance(nn.Module):
    """Frozen content and emotion encoders, differentiable to the pixels of the output.

    The views of the frozen backbones are inside. Frames are face crops framed as
    `cdrl.media.faces.crop` frames them: RGB in [0, 1], any H and W from 48. The module always stays
    in eval mode.

    Args:
        folder: None or "guidance" for the committed encoders; the folder of a run (notebooks 02 and
            03 done); or a folder that holds content/ and emotion/.

    Attributes:
        text: (8, D) learnt prompts of CERL, unit norm.
        prototypes: (8, 3, D) mean training embedding by label and level, unit norm; 0 where no clip
            was seen.
        crop: framing of the crops that the encoders were trained on.

    Example:
        guidance = Guidance()
        boxes = guidance.mouth_boxes(source)  # (B, T, 3, H, W) -> (B, 4), once
        content = guidance.content(source, output, boxes=boxes)  # (B,)
        emotion = guidance.emotion(output, labels="happy", boxes=boxes)  # (B,)

    Raises:
        InputError: where no trained encoders are.
    """

    text: torch.Tensor
    prototypes: torch.Tensor

    def __init__(self, folder: str | Path | None = None):
        super().__init__()
        content_folder, emotion_folder = encoder_folders(folder)
        vision_name = "embedded"
        self.crop = "aligned"
        if folder is not None:
            vision_name = made_with(folder, "priors", "vision", vision_name)
            self.crop = made_with(folder, "corpus", "crop", self.crop)

        self.vision = vision_prior(vision_name)
        self.content_encoder = load_content_encoder(content_folder)
        self.language = LanguagePrior(load_card(emotion_folder)["language"])
        self.emotion_encoder = load_emotion_encoder(emotion_folder)

        targets = load_tensors(emotion_folder / "targets.safetensors")
        self.register_buffer("text", targets["text"])
        self.register_buffer("prototypes", targets["prototypes"])
        self._text_similarities: dict[str, torch.Tensor] = {}
        freeze(self)

    @property
    def emotions(self) -> tuple[str, ...]:
        """The labels of which the emotion encoder saw clips."""
        indices = self._has_prototype().nonzero()[:, 0].tolist()
        return tuple(EMOTIONS[index] for index in indices)

    def mouth_boxes(self, images: torch.Tensor) -> torch.Tensor:
        """Find the mouth in each clip by the kit's face mesh.

        Boxes of the source serve for the output too.

        Args:
            images: (B, T, 3, H, W) RGB in [0, 1].

        Returns:
            (B, 4) left, top, right, bottom, 0 to 1; without a gradient. `DEFAULT_MOUTH_BOX`, the
            box in an aligned crop, for a clip in which no face is found.
        """
        self._check("source", images, 1)
        scaled = images.detach().clamp(0, 1) * 255
        pixels = scaled.round().byte()
        clips = pixels.permute(0, 1, 3, 4, 2).cpu().numpy()

        boxes = [mouth_box(clip) for clip in clips]
        return images.new_tensor(np.array(boxes))

    def content_embedding(
        self, images: torch.Tensor, boxes: torch.Tensor, audio_features: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Embed the content of every frame that has two neighbours on each side.

        Where the clip ends inside the window of the encoder, its last frame is repeated, as in the
        training of CCRL.

        Args:
            images: (B, T, 3, H, W) RGB in [0, 1].
            boxes: (B, 4) mouth boxes.
            audio_features: (B, T, A) features of the audio prior, or None: image only.

        Returns:
            (B, T - 4, D), unit norm.
        """
        face, mouth = self._frame_features(images, boxes)
        return self._embed_content(face, mouth, images.shape[:2], audio_features)

    def embeddings(
        self, images: torch.Tensor, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed emotion and content of the same clips; the frozen backbones see each frame once.

        Args:
            images: (B, T, 3, H, W) RGB in [0, 1], five frames or more.
            boxes: (B, 4) mouth boxes.

        Returns:
            (B, D) as of `emotion_embedding` and (B, T - 4, D) as of `content_embedding`.
        """
        face, mouth = self._frame_features(images, boxes)
        emotion = self._embed_emotion(face, mouth, images)
        return emotion, self._embed_content(face, mouth, images.shape[:2], None)

    def _frame_features(
        self, images: torch.Tensor, boxes: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B T, D) features of the face and of the mouth of every frame."""
        frame_boxes = boxes.repeat_interleave(images.shape[1], 0)
        return joint_forward(self.vision, images.flatten(0, 1), frame_boxes)

    def _embed_content(
        self,
        face: torch.Tensor,
        mouth: torch.Tensor,
        shape: torch.Size,
        audio_features: torch.Tensor | None,
    ) -> torch.Tensor:
        """(B, T - 4, D) content of (B T, D) features of B clips of T frames, `shape`."""
        batch, frames = shape
        window = self.content_encoder.window
        steps = torch.arange(window) - window // 2
        middles = torch.arange(CONTENT_MARGIN, frames - CONTENT_MARGIN)
        index = middles[:, None] + steps  # (T - 4, W)
        index = index.clamp(0, frames - 1)

        face_windows = face.view(batch, frames, -1)[:, index]  # (B, T - 4, W, D)
        mouth_windows = mouth.view(batch, frames, -1)[:, index]
        audio_windows = None
        if audio_features is not None:
            audio_windows = audio_features[:, index].flatten(0, 1)

        embedding = self.content_encoder(
            face_windows.flatten(0, 1), mouth_windows.flatten(0, 1), audio_windows
        )
        return embedding.view(batch, len(middles), -1)

    def emotion_embedding(
        self, images: torch.Tensor, boxes: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Embed the emotion of each clip, pooled over its frames.

        Args:
            images: (B, T, 3, H, W) RGB in [0, 1].
            boxes: (B, 4) mouth boxes; None takes `DEFAULT_MOUTH_BOX`.

        Returns:
            (B, D), unit norm.
        """
        if boxes is None:
            boxes = images.new_tensor(DEFAULT_MOUTH_BOX).expand(len(images), -1)
        face, mouth = self._frame_features(images, boxes)
        return self._embed_emotion(face, mouth, images)

    def _embed_emotion(
        self, face: torch.Tensor, mouth: torch.Tensor, images: torch.Tensor
    ) -> torch.Tensor:
        """(B, D) emotion of the (B T, D) features of (B, T, 3, H, W) images."""
        batch, frames = images.shape[:2]
        # The image tower of the embedded CLIP is the face backbone: its features are there already.
        if self.language.embedded and isinstance(self.vision, VisionPrior):
            image_features = face
        else:
            image_features = joint_forward(self.language.image_features, images.flatten(0, 1))

        features = torch.cat([image_features, mouth], -1)
        return self.emotion_encoder(features.view(batch, frames, -1))

    def content(
        self,
        source: torch.Tensor,
        output: torch.Tensor,
        *,
        boxes: torch.Tensor | None = None,
        audio: torch.Tensor | None = None,
        audio_features: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The content loss, mean over windows.

        1 - cos(content(source), content(output)). Without audio the image alone decides; the study
        found that audio adds nothing.

        Args:
            source: (B, T >= 5, 3, H, W) RGB in [0, 1].
            output: (B, T, 3, H', W') RGB in [0, 1], the same frames edited.
            boxes: (B, 4) mouth boxes, used for both; None finds them on the source.
            audio: (B, S) sound of these frames at 16 kHz, for encoders that were trained with the
                embedded audio prior.
            audio_features: (B, T, A) features of the audio prior that the encoder was trained with.

        Returns:
            (B,) in [0, 2]; 0 where output is the source, about 1 for another moment of speech.

        Raises:
            InputError: for shapes, sizes, numbers of frames and values that are not these.
        """
        min_frames = 2 * CONTENT_MARGIN + 1
        self._check("source", source, min_frames)
        self._check("output", output, min_frames, source)
        if boxes is None:
            boxes = self.mouth_boxes(source)
        check_boxes(boxes, len(source))

        batch, frames = source.shape[:2]
        if audio is not None and audio_features is not None:
            raise InputError("audio, audio_features: give one of the two")
        if audio is not None:
            audio_features = self._extract_audio(audio, batch, frames)
        elif audio_features is not None:
            audio_features = self._check_audio_features(audio_features, batch, frames)

        with torch.no_grad():
            source_embedding = self.content_embedding(source.float(), boxes, audio_features)
        output_embedding = self.content_embedding(output.float(), boxes, audio_features)
        cosine = (source_embedding * output_embedding).sum(-1)
        return 1 - cosine.mean(1)

    def emotion(
        self,
        output: torch.Tensor,
        *,
        labels: Words | None = None,
        text: Words | None = None,
        reference: torch.Tensor | None = None,
        embedding: torch.Tensor | None = None,
        intensity: float = 1.0,
        boxes: torch.Tensor | None = None,
        source: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """The emotion loss.

        1 - cos(emotion(target), emotion(output)). The target is given by exactly one of `labels`,
        `text`, `reference` and `embedding`; see `target`. There is one for all clips, or one per
        clip.

        Args:
            output: (B, T, 3, H, W) RGB in [0, 1], best T >= 5, at least 3.
            labels: one emotion, or B emotions.
            text: one description, or B descriptions.
            reference: (1 or B, T', 3, H', W') frames of reference clips.
            embedding: (1 or B, D) emotion embeddings.
            intensity: of labels and text, 1/3 to 1.
            boxes: (B, 4) mouth boxes of the output. None finds them on `source`, or takes
                `DEFAULT_MOUTH_BOX` where that is None too.
            source: (B, T, 3, H, W) RGB in [0, 1], only to find boxes.

        Returns:
            (B,) in [0, 2]; near 0 where the output shows the target, about .2 to .7 where it shows
            another emotion.

        Raises:
            InputError: as `content`, and as `target`.
        """
        self._check("output", output, MIN_EMOTION_FRAMES)
        target = self.target(
            labels=labels, text=text, reference=reference, embedding=embedding, intensity=intensity
        )
        if len(target) not in (1, len(output)):
            raise InputError(
                f"emotion: {len(target)} targets for {len(output)} clips; give one, or one per clip"
            )

        if boxes is None and source is not None:
            boxes = self.mouth_boxes(source)
        if boxes is not None:
            check_boxes(boxes, len(output))
        output_embedding = self.emotion_embedding(output.float(), boxes)
        return 1 - (output_embedding * target).sum(-1)

    def target(
        self,
        *,
        labels: Words | None = None,
        text: Words | None = None,
        reference: torch.Tensor | None = None,
        embedding: torch.Tensor | None = None,
        intensity: float = 1.0,
    ) -> torch.Tensor:
        """The emotion embeddings that an output should have. Exactly one kind of target is given.

        Args:
            labels: one of `emotions`, or a list of them.
            text: a description of facial cues, or a list of them; see `mixture`.
            reference: (B, T, 3, H, W) frames of reference clips, whose mouth boxes are detected.
            embedding: (B, D) emotion embeddings, passed through.
            intensity: of labels and text, 1/3 to 1: levels 1 to 3 of the training clips,
                interpolated.

        Returns:
            (B, D), unit norm, without a gradient; B is 1 for a single label or text.

        Raises:
            InputError: no kind or several kinds of target, an emotion that is unknown, words that
                the language prior does not know, frames or embeddings of a wrong shape.
        """
        _refuse_all_but_one(labels=labels, text=text, reference=reference, embedding=embedding)
        if labels is not None:
            names = self._check_labels(labels)
            return label_targets(self.prototypes, names, intensity)
        if text is not None:
            return self._text_targets(text, intensity)
        if reference is not None:
            return self._embed_reference(reference)
        return self._check_embedding(embedding)

    @torch.no_grad()
    def mixture(
        self,
        *,
        labels: Words | None = None,
        text: Words | None = None,
        reference: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """How much of each emotion is meant.

        A text is compared with the descriptions of CERL's prompts
        (`cdrl.priors.language.DESCRIPTIONS`) in the space of the language prior, the frames of a
        reference with the nearest prototype of each label. A softmax at CERL's temperature turns
        the cosines into weights.

        Args:
            labels: one emotion, or a list of emotions.
            text: one description, or a list of descriptions.
            reference: (B, T, 3, H, W) frames of reference clips.

        Returns:
            (B, 8) weights that sum to 1, order `EMOTIONS`; 0 for an emotion of which no clip was
            seen.

        Raises:
            InputError: as `target`.
        """
        _refuse_all_but_one(labels=labels, text=text, reference=reference)
        if labels is not None:
            names = self._check_labels(labels)
            index = torch.tensor([emotion_index(name) for name in names])
            return F.one_hot(index, len(EMOTIONS)).to(self.prototypes)

        if text is not None:
            weights = []
            for description in _as_list("text", text):
                similarity = self._text_similarity(description)
                weights.append(self._softmax(similarity))
            return torch.stack(weights)

        embedding = self._embed_reference(reference)
        similarity = torch.einsum("bd,kld->bkl", embedding, self.prototypes)
        of_nearest_level = similarity.amax(-1)
        return self._softmax(of_nearest_level)

    def _text_targets(self, text: Words, intensity: float) -> torch.Tensor:
        """(B, D): the prototypes, mixed by the weights of each text, at an intensity."""
        targets = []
        for weights in self.mixture(text=text):
            prototypes = torch.einsum("k,kld->ld", weights, self.prototypes)
            targets.append(interpolate_levels(prototypes, intensity))

        return torch.stack(targets)

    def _text_similarity(self, text: str) -> torch.Tensor:
        """(8,) cosines of a text to the descriptions of the emotions, computed once a text."""
        self._check_text(text)
        if text not in self._text_similarities:
            descriptions = [DESCRIPTIONS[name] for name in EMOTIONS]
            embedding = self.language.text_embedding([text, *descriptions])
            self._text_similarities[text] = embedding[1:] @ embedding[0]

        similarity = self._text_similarities[text]
        return similarity.to(self.prototypes.device)

    def _softmax(self, similarity: torch.Tensor) -> torch.Tensor:
        """(..., 8) cosines -> (..., 8) weights, 0 for emotions without a prototype."""
        logits = (similarity / TEMPERATURE).masked_fill(~self._has_prototype(), -math.inf)
        return logits.softmax(-1)

    def _has_prototype(self) -> torch.Tensor:
        return self.prototypes.flatten(1).norm(dim=1) > 0

    @torch.no_grad()
    def _embed_reference(self, reference: torch.Tensor | None) -> torch.Tensor:
        """(B, T, 3, H, W) frames of references -> (B, D)."""
        assert reference is not None
        self._check("reference", reference, MIN_EMOTION_FRAMES)
        return self.emotion_embedding(reference.float(), self.mouth_boxes(reference))

    def _check_labels(self, labels: Words) -> list[str]:
        """One label or several, as a list."""
        names = _as_list("labels", labels)
        accepted = ", ".join(self.emotions)
        for name in names:
            if name not in EMOTIONS:
                hint = self._similar_label(name)
                raise InputError(
                    f"labels: unknown emotion {name!r}{hint}: accepted are {accepted}; "
                    "a description in words is given as text"
                )
            if name not in self.emotions:
                raise InputError(
                    f"emotion {name!r}: these encoders saw no clip of it; accepted are {accepted}"
                )
        return names

    def _check_text(self, text: str) -> None:
        """Refuse words that no target can be made of, in one line."""
        # Only the embedded prior's tokenizer has a closed list of words.
        vocabulary = getattr(self.language.tokenize, "words", None)
        words = set(re.findall(r"[^\s,.;]+", text.lower()))
        if words and (vocabulary is None or words <= set(vocabulary)):
            return
        description = "a description in words"
        if vocabulary is not None:
            description = (
                f"a description in the words {', '.join(vocabulary)} "
                "(any others need a real CLIP, priors.language=ViT-B-32/openai)"
            )
        raise InputError(
            f"text: unknown emotion {text!r}{self._similar_label(text)}: accepted are "
            f"the labels {', '.join(self.emotions)}; or {description}"
        )

    def _similar_label(self, name: str) -> str:
        """A hint for the message, empty where no label resembles the name."""
        similar = get_close_matches(name.lower(), self.emotions, n=1, cutoff=0.5)
        return f" (did you mean {similar[0]}?)" if similar else ""

    def _check_embedding(self, embedding: torch.Tensor | None) -> torch.Tensor:
        length = self.text.shape[1]
        shape = tuple(getattr(embedding, "shape", ()))
        if not isinstance(embedding, torch.Tensor) or len(shape) != 2 or shape[1] != length:
            raise InputError(
                f"embedding: (B, {length}) emotion embeddings are needed, got {shape}; "
                "frames (B, T, 3, H, W) are given as reference"
            )
        return embedding

    def _extract_audio(self, audio: torch.Tensor, batch: int, frames: int) -> torch.Tensor:
        """(B, S) sound at 16 kHz -> (B, T, A) features of the embedded audio prior."""
        _check_finite("audio", audio)
        length = self.content_encoder.audio.in_features
        if length != EMBEDDED_AUDIO_FEATURES:
            raise InputError(
                f"audio: this encoder was trained with another audio prior, whose features "
                f"({batch}, {frames}, {length}) are given as audio_features"
            )
        if audio.ndim != 2 or len(audio) != batch:
            raise InputError(
                f"audio {tuple(audio.shape)}: sound ({batch}, S) at 16 kHz is needed; "
                "features of the audio prior are given as audio_features"
            )
        prior = EmbeddedAudioPrior()
        frame_rate = AUDIO_RATE * frames / max(1, audio.shape[1])
        features = []
        for sound in audio.float():
            samples = sound.detach().cpu().numpy()
            features.append(prior(samples, frames, frame_rate))
        return torch.stack(features).to(audio.device)

    def _check_audio_features(
        self, audio_features: torch.Tensor, batch: int, frames: int
    ) -> torch.Tensor:
        """(B, T, A), checked, as float32."""
        _check_finite("audio_features", audio_features)
        expected = (batch, frames, self.content_encoder.audio.in_features)
        if tuple(audio_features.shape) != expected:
            raise InputError(
                f"audio_features {tuple(audio_features.shape)}: {expected} features of the audio "
                "prior are needed; sound (B, S) at 16 kHz is given as audio"
            )
        return audio_features.float()

    def _check(
        self, name: str, images: torch.Tensor, min_frames: int, like: torch.Tensor | None = None
    ) -> None:
        check_frames(name, images, min_frames, like)
        device = self.prototypes.device
        if images.device != device:
            raise InputError(
                f"{name} is on {images.device}, the guidance on {device}: "
                f"guidance.to({str(images.device)!r}) moves it"
            )


def label_targets(
    prototypes: torch.Tensor, labels: Sequence[str], intensity: float
) -> torch.Tensor:
    """The prototypes of some labels at an intensity.

    Args:
        prototypes: (8, 3, D) emotion embeddings by label and level.
        labels: B emotions.
        intensity: 1/3 (level 1) to 1 (level 3), interpolated.

    Returns:
        (B, D), unit norm.

    Raises:
        InputError: an unknown emotion, or an intensity that is no number.
    """
    targets = []
    for label in labels:
        levels = prototypes[emotion_index(label)]
        targets.append(interpolate_levels(levels, intensity))
    return torch.stack(targets)


def interpolate_levels(levels: torch.Tensor, intensity: float) -> torch.Tensor:
    """The embedding of an intensity between the levels of the training clips.

    Args:
        levels: (3, D) embeddings of levels 1 to 3.
        intensity: 1/3 (level 1) to 1 (level 3); values outside take the nearest level.

    Returns:
        (D,), unit norm.

    Raises:
        InputError: an intensity that is no number.
    """
    if not math.isfinite(intensity):
        raise InputError(
            f"intensity {intensity}: a number from 1/3 (level 1) to 1 (level 3) is needed"
        )

    level = min(max(3 * intensity - 1, 0.0), 2.0)
    below = min(int(level), 1)
    step = levels[below + 1] - levels[below]
    interpolated = levels[below] + (level - below) * step
    return F.normalize(interpolated, dim=-1)


def _refuse_all_but_one(**inputs: Any) -> None:
    """Exactly one of some keywords is to be given."""
    names = [name for name, value in inputs.items() if value is not None]
    if len(names) != 1:
        accepted = ", ".join(inputs)
        given = ", ".join(names) or "none"
        raise InputError(f"emotion: give exactly one of {accepted}; got {given}")


def _as_list(keyword: str, words: Words) -> list[str]:
    """One string, or a list of strings, as a list."""
    texts = [words] if isinstance(words, str) else words
    is_list = isinstance(texts, (list, tuple)) and len(texts) > 0
    if not is_list or not all(isinstance(text, str) for text in texts):
        got = type(words).__name__
        raise InputError(f"{keyword}: a string, or a list of strings, is needed, got {got}")
    return list(texts)


def _check_finite(keyword: str, audio: torch.Tensor) -> None:
    if not isinstance(audio, torch.Tensor) or not torch.isfinite(audio).all():
        raise InputError(f"{keyword}: a tensor of finite numbers is needed")


def encoder_folders(folder: str | Path | None) -> tuple[Path, Path]:
    """Find the folders of the content encoder and of the emotion encoder.

    Args:
        folder: None or `guidance` (the committed ones), a run, or a folder with content/ and
            emotion/.

    Raises:
        InputError: there is no such folder.
    """
    if folder is None or str(folder) == "guidance":
        root = data_root() / "weights" / "guidance"
    else:
        root = Path(folder)
    if not root.is_dir():
        raise InputError(
            f"{root}: no such folder; guidance is 'guidance' (the committed encoders), "
            "a run's folder, or one with content/ and emotion/"
        )
    content, emotion = root / "content", root / "emotion"
    if content.is_dir() and emotion.is_dir():
        return content, emotion
    return stage_folder(root, "content"), stage_folder(root, "emotion")
