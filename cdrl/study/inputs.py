"""What the jobs of one study share: features, aligned pairs, probe corpora, folders of encoders."""

from functools import lru_cache
from pathlib import Path

import numpy as np
import pandas as pd

from cdrl.core.settings import ContentConfig, EmotionConfig, StudyConfig, config_hash
from cdrl.corpora.store import Store
from cdrl.evaluation import controls
from cdrl.evaluation.leakage import ProbeCorpus
from cdrl.evaluation.probe_splits import frame_table
from cdrl.priors.features import Features
from cdrl.representation.pairs import find_pairs
from cdrl.stages.s04_probe import split_people
from cdrl.study.rows import Row


@lru_cache(maxsize=4)
def study_features(work: Path, split: str, backbone: str) -> Features:
    """Open what the priors extracted from the clips of one set.

    Args:
        work: the study's work folder.
        split: `train`, `report` or `choose`.
        backbone: `actions` or `identity`, see `Row`.
    """
    return Features(Store(work / split), work / f"{split}_{backbone}")


@lru_cache(maxsize=1)
def probe_corpus(work: Path, split: str, fit_frames: int) -> ProbeCorpus:
    """Return the clips and frames of one set; half of the people fit probes, the others score.

    Args:
        work: the study's work folder.
        split: `report` or `choose`.
        fit_frames: most frames that fit a probe.
    """
    store = Store(work / split)
    frames = frame_table(store.clips, store.truth["viseme"][:], store.truth["phoneme"][:])
    clips = split_people(store.clips)

    return ProbeCorpus(clips, frames, 0, fit_frames)


@lru_cache(maxsize=1)
def training_pairs(work: Path, settings: ContentConfig) -> pd.DataFrame:
    """Return the aligned pairs of training clips that these settings draw."""
    features = study_features(work, "train", "actions")
    return find_pairs(features, settings)


def encoder_folder(
    work: Path,
    kind: str,
    settings: ContentConfig | EmotionConfig,
    backbone: str = "actions",
    control: str = "",
) -> Path:
    """Return the folder of an encoder that was trained with these settings.

    Args:
        work: the study's work folder.
        kind: `content` or `emotion`.
        settings: of the training.
        backbone: `actions` or `identity`, see `Row`.
        control: what replaces the training data, see `Row`.
    """
    training_data = {"content": "pairs", "emotion": "faces"}[kind]
    name = f"{kind}-{config_hash(settings)}-{backbone}-{control or training_data}"
    return Path(work) / "encoders" / name


def row_features(work: Path, config: StudyConfig, row: Row) -> tuple[Features, Features]:
    """Return the features that a row trains on and those it is scored on.

    Args:
        work: the study's work folder.
        config: the study's settings.
        row: its backbone and its control count.
    """
    train = study_features(work, "train", row.backbone)
    report = study_features(work, config.split, row.backbone)
    if row.blank:
        train = controls.without_information(train, row.control, seed=0)
        report = controls.without_information(report, row.control, seed=1)

    return train, report


def content_inputs(features: Features) -> np.ndarray:
    """Return the input features of CCRL, (N, F + M) float32: face and mouth of every frame."""
    parts = [features.face[:], features.mouth[:]]
    return np.concatenate(parts, 1).astype(np.float32)


def emotion_inputs(features: Features) -> np.ndarray:
    """Return the input features of CERL, (N, L + M) float32: image features and mouth of frames."""
    parts = [features.language[:], features.mouth[:]]
    return np.concatenate(parts, 1).astype(np.float32)
