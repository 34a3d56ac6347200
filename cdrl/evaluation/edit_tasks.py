"""The edits that are evaluated: source clips, requests, and true edits where they exist."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from cdrl.core.vocabulary import VISEMES
from cdrl.corpora.store import Store
from cdrl.evaluation.edit_scores import mouth_box
from cdrl.models.image_editor import MAX_INTENSITY
from cdrl.studio.edits import source_of
from cdrl.studio.render import LANDMARKS

# Numbers of the studio's landmarks that lie on the mouth.
BILABIAL = VISEMES.index("PP")
MOUTH_POINTS = [k for k, point in enumerate(LANDMARKS) if "lip" in point or "mouth" in point]


class Edits:
    """Requested edits: E times a source clip, a target emotion and a level.

    Args:
        report: store of the source clips.
        requests: what is requested, a store or `cdrl.editing.requests.EditRequests`.
        sources: (E,) number of the source clip of each edit.
        size: pixels of the crops that are edited and judged.

    Attributes:
        speakers: (E,) the person of each edit.
        target_emotions: (E,) the requested emotion of each edit.
    """

    def __init__(self, report: Store, requests: Any, sources: np.ndarray, size: int) -> None:
        self.report = report
        self.requests = requests
        self.sources = sources
        self.size = size

        self.speakers = requests.clips.speaker.to_numpy()
        self.target_emotions = requests.clips.emotion.to_numpy()

    def __len__(self) -> int:
        return len(self.sources)

    def clip(self, number: int) -> np.ndarray:
        """(T, S, S, 3) uint8: the crops of clip `number` of the report."""
        frames = self.report.frames(number)
        return resize_crops(self.report.face[frames], self.size)

    def source(self, edit: int) -> np.ndarray:
        """(T, S, S, 3) uint8: the crops of the source clip of an edit."""
        return self.clip(self.sources[edit])

    def intensity(self, edit: int, scale: float = 1.0) -> float:
        """The requested level, a third for each, times a scale; at most the highest accepted."""
        level = float(self.requests.clips.intensity.iloc[edit])
        return min(level / 3 * scale, MAX_INTENSITY)

    def frame_rate(self, edit: int) -> float:
        """Hz of the source clip."""
        return float(self.report.clips.frame_rate.iloc[self.sources[edit]])

    @property
    def has_phonemes(self) -> bool:
        """Whether the visemes of the source clips are known."""
        return "viseme" in self.report.truth

    def closed(self) -> list[np.ndarray]:
        """(T,) bool of each edit: frames in which P, B or M closes the source's lips.

        Nothing where the visemes are not known.
        """
        if not self.has_phonemes:
            return []

        closed = []
        for source in self.sources:
            visemes = np.asarray(self.report.truth["viseme"][self.report.frames(source)])
            closed.append(visemes == BILABIAL)

        return closed

    def other_clips(self, edit: int) -> np.ndarray:
        """(n,) numbers of the other clips of the edit's person."""
        clips = self.report.clips
        source = self.sources[edit]
        same_speaker = clips.speaker == clips.speaker[source]

        return np.flatnonzero(same_speaker & (clips.index != source))


class TrueEdits(Edits):
    """Requested edits of rendered clips, each with its true edit.

    Args:
        report: store of the source clips.
        requests: store of the true edits.
        size: pixels of the crops that are edited and judged.
    """

    def __init__(self, report: Store, requests: Store, size: int) -> None:
        number_of = {name: number for number, name in enumerate(report.clips.name)}
        sources = [number_of[source_of(name)] for name in requests.clips.name]
        super().__init__(report, requests, np.array(sources), size)

    def truth(self, edit: int) -> np.ndarray:
        """(T, S, S, 3) uint8: the crops of the true edit."""
        frames = self.requests.frames(edit)
        return resize_crops(self.requests.face[frames], self.size)

    def another(self, edit: int, seed: int) -> np.ndarray:
        """(t, S, S, 3) uint8: every eighth crop of another clip of that person."""
        random = np.random.default_rng([seed, 6, edit])
        number = int(random.choice(self.other_clips(edit)))
        frames = self.report.frames(number)

        return resize_crops(self.report.face[frames][::8], self.size)

    def mouth_boxes(self, edit: int) -> np.ndarray:
        """(T, 4) the box around the mouth of the true edit, relative to the crop."""
        landmarks = self.requests.truth["landmarks"][self.requests.frames(edit)]
        return mouth_box(landmarks[:, MOUTH_POINTS].astype(np.float32))


def resize_crops(crops: np.ndarray, size: int) -> np.ndarray:
    """(T, C, C, 3) uint8 -> (T, size, size, 3) uint8, antialiased."""
    images = torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2)
    resized = F.interpolate(
        images.float(), (size, size), mode="bilinear", antialias=True, align_corners=False
    )

    levels = resized.round().clamp(0, 255).byte()
    return levels.permute(0, 2, 3, 1).numpy()
