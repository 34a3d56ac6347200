"""Notebook 01: what the frozen priors say of every frame."""

from pathlib import Path

import numpy as np

from cdrl.core.checkpoint import load_card
from cdrl.core.devices import pick_device
from cdrl.core.settings import stage_folder
from cdrl.corpora.store import Store
from cdrl.corpora.time_warp import warp
from cdrl.priors.audio import audio_prior
from cdrl.priors.features import Features, extract
from cdrl.priors.vision import vision_prior
from cdrl.priors.language import LanguagePrior
from cdrl.priors.sources import prepare

STORES = ("train", "report", "real")


def extract_priors(run: Path, config, out: Path) -> dict:
    """Notebook 01: what the frozen priors say of every frame, and how good they are on people they never saw.

    Returns:
        prior.*: held-out scores of the embedded priors, from their cards.
    """
    priors, shared = load_priors(config), config.features or None
    for name in STORES:
        extract(
            Store(stage_folder(run, "corpus") / name),
            out / name,
            batch=config.batch,
            shared=shared,
            **priors,
        )
    names = ["face_backbone", "mouth_backbone"] if config.vision == "embedded" else []
    names += ["audio_prior"] if config.audio == "embedded" else []
    names += ["language_prior"] if config.language == "embedded" else []
    return {
        f"prior.{name}.{key}": value
        for name in names
        for key, value in load_card(name)["scores"].items()
        if "." not in key or key.endswith("chance")
    }


def load_priors(config) -> dict:
    """The priors of a `PriorsConfig`, their weights found or fetched first; the keywords that `extract` takes.

    Raises:
        InputError: one line for each that is missing, or what is wrong with one.
    """
    prepare(config)
    device = str(pick_device(config.device))
    return {
        "audio": audio_prior(
            config.audio, config.audio_layer, config.audio_windows, config.weights, device
        ),
        "language": LanguagePrior(config.language, config.weights),
        "vision": vision_prior(config.vision, config.weights),
        "device": device,
    }


def open_features(run: Path, name: str) -> Features:
    """The features of one of a run's stores: train, report or real."""
    return Features(Store(stage_folder(run, "corpus") / name), stage_folder(run, "priors") / name)


def aligned_clips(features: Features) -> tuple[np.ndarray, np.ndarray, str]:
    """Two clips of one sentence by one speaker as the audio prior hears them.

    Returns:
        (T, U) cosines of all pairs of moments; (T,) the path of dynamic time warping, in frames of the second clip; a title. Where
        nobody says anything twice: of the first two clips.
    """
    clips = features.store.clips
    same = clips.groupby(["speaker", "sentence"]).filter(lambda said: len(said) > 1)
    first, second = (int(k) for k in (same.index[:2] if len(same) else clips.index[:2]))
    sound = [
        np.asarray(features.audio[features.store.frames(k)], np.float32) for k in (first, second)
    ]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in sound]
    return (
        unit[0] @ unit[1].T,
        warp(*sound)[0],
        f"{clips.emotion[first]} (down) against {clips.emotion[second]} (right)",
    )
