"""Presets: what differs from the defaults, and what a run of each is expected to cost.

The defaults themselves are in `cdrl.core.settings`.
"""

from dataclasses import dataclass
from typing import Any

# What differs from the defaults of the settings.
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "corpus.speech": "cached",
        "corpus.train_people": 4,
        "corpus.report_people": 4,
        "corpus.report_sentences": 4,
        "corpus.edits": 7,
        "corpus.frame_size": 96,
        "corpus.max_clips": 56,
        "corpus.workers": 1,
        "content.workers": 1,
        "content.steps": 20,
        "content.control_steps": 10,
        "content.pairs": 40,
        "emotion.workers": 1,
        "emotion.steps": 20,
        "emotion.control_steps": 10,
        "emotion.released_steps": 10,
        "probe.fit_frames": 600,
        "probe.swaps": 200,
        "probe.gallery": 2,
        "probe.map_points": 300,
        "probe.fit_steps": 4,
        "generator.workers": 1,
        "generator.steps": 4,
        "generator.batch": 4,
        "generator.distil_steps": 4,
        "generator.pixel_steps": 2,
        "generator.videos": 1,
        "generator.fit_steps": 2,
        "probe.workers": 1,
        "evaluate.workers": 1,
    },
    "cpu": {},
    "gpu": {
        "corpus.train_people": 160,
        "corpus.train_clips": 24,
        "corpus.report_people": 24,
        "corpus.report_score_people": 12,
        "corpus.frame_size": 256,
        "corpus.crop_size": 256,
        "content.steps": 3000,
        "emotion.steps": 3000,
        "generator.steps": 20000,
        "generator.batch": 32,
        "generator.size": 256,
        "generator.distil_steps": 3000,
        "generator.pixel_steps": 1000,
    },
    # The release's protocol: frame rate, crop, split, test clips, drivers and priors.
    # The method is this kit's.
    "paper": {
        "corpus.corpus": "mead",
        "corpus.split": "paper",
        "corpus.frame_rate": 30.0,
        "corpus.crop": "released",
        "corpus.crop_size": 224,
        "corpus.edits": 300,
        "priors.audio": "WAV2VEC2_XLSR53",
        "priors.audio_windows": "released",
        "priors.language": "ViT-B-32/openai",
        "priors.vision": "iresnet50",
        "content.steps": 3000,
        "emotion.steps": 3000,
        "emotion.released_steps": 15_625,
        "generator.editor": "image",
        "generator.steps": 20_000,
        "generator.batch": 32,
        "generator.size": 224,
        "generator.videos": 12,
    },
}


# What differs from the defaults where the image editor or one of the user's own is trained.
IMAGE_EDITOR: dict[str, Any] = {
    "generator.steps": 100,
    "generator.batch": 8,
    "generator.learning_rate": 5e-4,
}


@dataclass(frozen=True)
class Cost:
    """What a run of a preset is expected to take.

    Measured on two idle cores; `gpu` and `paper` are estimates. The crops of a real corpus come on
    top: notebook 00 prints their cost.

    Attributes:
        minutes: wall-clock time.
        memory_gb: peak memory of all processes together, GB.
        disk_gb: size of the run's folder, GB.
    """

    minutes: float
    memory_gb: float
    disk_gb: float


COSTS = {
    "smoke": Cost(3, 3, 0.5),
    "cpu": Cost(10, 5, 2),
    "gpu": Cost(60, 12, 20),
    "paper": Cost(6000, 24, 5),
}
