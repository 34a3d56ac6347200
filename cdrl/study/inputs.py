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
from cdrl.priors.features import Features, extract
from cdrl.representation.pairs import find_pairs
from cdrl.stages.s04_probe import split_people
from cdrl.study.changed_images import with_changed_images
from cdrl.study.few_labels import with_few_labels, without_emotion
from cdrl.study.row import Row

# Weights of the face and the mouth backbone of rows.
BACKBONES = {
    "actions": ("face_backbone", "mouth_backbone"),
    "identity": ("face_identity", "mouth_identity"),
}

LANGUAGE = "embedded"  # the language prior of every row


@lru_cache(maxsize=4)
def study_features(work: Path, split: str, backbone: str, pixels: str = "") -> Features:
    """Open what the priors extracted from the clips of one set.

    Args:
        work: the study's work folder.
        split: `train`, `report` or `choose`.
        backbone: `actions` or `identity`, see `Row`.
        pixels: what was done to the images, see `Row`.
    """
    return Features(Store(work / split), features_folder(work, split, backbone, pixels))


def features_folder(work: Path, split: str, backbone: str, pixels: str = "") -> Path:
    """Return the folder of the features of one set.

    Args:
        work: the study's work folder.
        split: `train`, `report` or `choose`.
        backbone: `actions` or `identity`, see `Row`.
        pixels: what was done to the images, see `Row`.
    """
    ending = f"_{pixels}" if pixels else ""
    return Path(work) / f"{split}_{backbone}{ending}"


def extract_features(work: Path, split: str, backbone: str, pixels: str = "") -> None:
    """Extract the features of one set; what is there stays.

    Args:
        work: the study's work folder.
        split: `train`, `report` or `choose`.
        backbone: `actions` or `identity`, see `Row`.
        pixels: what is done to the images, see `Row`.
    """
    store = Store(work / split)
    if pixels:
        store = with_changed_images(store, pixels)
    out = features_folder(work, split, backbone, pixels)
    extract(store, out, vision=BACKBONES[backbone])


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


def training_data(row: Row) -> str:
    """Return what a row trains on instead of all clips as they are, for `encoder_folder`.

    Args:
        row: of a table.
    """
    if row.pixels:
        return row.pixels
    if row.labels < 1:
        return f"labels{100 * row.labels:g}"
    if row.left_out:
        return f"without-{row.left_out}"
    return row.control


def row_features(work: Path, config: StudyConfig, row: Row) -> tuple[Features, Features]:
    """Return the features that a row trains on and those it is scored on.

    Args:
        work: the study's work folder.
        config: the study's settings.
        row: its backbone, its control, its images and its labels count.
    """
    train = study_features(work, "train", row.backbone, row.pixels)
    report = study_features(work, config.split, row.backbone, row.pixels)
    if row.labels < 1:
        train = with_few_labels(train, row.labels)
    if row.left_out:
        train = without_emotion(train, row.left_out)
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
