"""Notebook 01: what the frozen priors extract from every frame."""

from pathlib import Path
from typing import Any

import numpy as np

from cdrl.core.checkpoint import load_card
from cdrl.core.devices import pick_device
from cdrl.core.settings import PriorsConfig, stage_folder
from cdrl.corpora.dtw import dtw_alignment
from cdrl.corpora.store import Store
from cdrl.priors.audio import audio_prior
from cdrl.priors.features import Features, extract
from cdrl.priors.language import LanguagePrior
from cdrl.priors.sources import prepare
from cdrl.priors.vision import vision_prior

STORES = ("train", "report", "real")
# Setting of `PriorsConfig` -> the committed networks that it stands for.
EMBEDDED = {
    "vision": ("face_backbone", "mouth_backbone"),
    "audio": ("audio_prior",),
    "language": ("language_prior",),
}


def extract_priors(run: Path, config: PriorsConfig, out: Path) -> dict[str, float]:
    """Notebook 01: extract the priors' features, and report how good the priors are.

    Args:
        run: folder of the run.
        config: the stage's settings.
        out: the stage's folder.

    Returns:
        `prior.*`: scores of the committed priors on people they were not trained on, from their
        cards.
    """
    priors = load_priors(config)
    shared = Path(config.features) if config.features else None
    for name in STORES:
        store = Store(stage_folder(run, "corpus") / name)
        extract(store, out / name, batch=config.batch, shared=shared, **priors)

    scores: dict[str, float] = {}
    for setting, networks in EMBEDDED.items():
        if getattr(config, setting) == "embedded":
            for network in networks:
                scores |= _card_scores(network)

    return scores


def _card_scores(network: str) -> dict[str, float]:
    """Return the main scores of a committed network, with their chance levels."""
    scores = {}
    for name, value in load_card(network)["scores"].items():
        if "." not in name or name.endswith("chance"):
            scores[f"prior.{network}.{name}"] = value

    return scores


def load_priors(config: PriorsConfig) -> dict[str, Any]:
    """Load the priors of a run; their weights are found or fetched first.

    Args:
        config: the stage's settings.

    Returns:
        The keywords that `extract` takes.

    Raises:
        InputError: weights that are missing, or what is wrong with them.
    """
    prepare(config)
    device = str(pick_device(config.device))
    audio = audio_prior(
        config.audio, config.audio_layer, config.audio_windows, config.weights, device
    )

    return {
        "audio": audio,
        "language": LanguagePrior(config.language, config.weights),
        "vision": vision_prior(config.vision, config.weights),
        "device": device,
    }


def open_features(run: Path, name: str) -> Features:
    """Open the features of one of a run's stores.

    Args:
        run: folder of the run.
        name: train, report or real.
    """
    store = Store(stage_folder(run, "corpus") / name)
    return Features(store, stage_folder(run, "priors") / name)


def aligned_clips(features: Features) -> tuple[np.ndarray, np.ndarray, str]:
    """Align two clips of one sentence by one speaker by their audio features.

    A corpus without such a pair shows its first two clips.

    Args:
        features: of a store.

    Returns:
        (T, U) cosines of all pairs of frames; (T,) the path of dynamic time warping, in frames of
        the second clip; a title.
    """
    clips = features.store.clips
    sizes = clips.groupby(["speaker", "sentence"])["emotion"].transform("size")

    repeated = clips.index[sizes > 1]
    candidates = repeated if len(repeated) else clips.index
    first, second = int(candidates[0]), int(candidates[1])

    first_audio = _audio(features, first)
    second_audio = _audio(features, second)
    cosines = _unit_rows(first_audio) @ _unit_rows(second_audio).T

    path, _ = dtw_alignment(first_audio, second_audio)
    title = f"{clips.emotion[first]} (down) against {clips.emotion[second]} (right)"

    return cosines, path, title


def _audio(features: Features, clip: int) -> np.ndarray:
    """Return the audio features of a clip, (T, A) float32."""
    return np.asarray(features.audio[features.store.frames(clip)], np.float32)


def _unit_rows(values: np.ndarray) -> np.ndarray:
    """Scale the rows of (T, A) values to unit length."""
    return values / np.linalg.norm(values, axis=1, keepdims=True)
