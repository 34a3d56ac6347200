"""Notebook 03: the emotion encoder and its controls."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

from cdrl.baselines.released.training import emotions_with_clips, train_released_emotion
from cdrl.core.results import read_results
from cdrl.core.settings import stage_folder
from cdrl.core.vocabulary import EMOTIONS
from cdrl.evaluation import controls
from cdrl.representation.emotion import train_emotion
from cdrl.stages.s01_priors import open_features


def train_cerl(run: Path, config, out: Path) -> dict:
    """Notebook 03: train the shared head and the prompts; the same on constant and noise images, the controls; CERL as released.

    Returns:
        emotion.loss.*: the last value of the prompt loss, beside its no-information value ln 8; released.emotion.loss.*: of the
        released loss on faces, on noise, and on noise with one head for all labels, beside ln 7 (the emotions that are there).
    """
    features = open_features(run, "train")
    language = _language(run)
    _, history = train_emotion(features, config, language, out)
    scores = {
        "emotion.loss.prior": float(history["prior"].iloc[-1]),
        "emotion.loss.prior.chance": float(np.log(8)),
    }
    for kind in ("constant", "noise"):
        short = replace(config, steps=config.control_steps)
        _, blank = train_emotion(
            controls.without_information(features, kind, language), short, language, out / kind
        )
        scores[f"control.{kind}.emotion.loss"] = float(blank["prior"].tail(5).mean())
    noise = controls.without_information(features, "noise", language)
    given = {"faces": (features, False), "noise": (noise, False), "noise_one_head": (noise, True)}
    for name, (seen, shared) in given.items():
        released = train_released_emotion(
            seen, language, config.released_steps, config.seed, shared=shared
        )
        (out / "released").mkdir(exist_ok=True)
        released.to_parquet(out / "released" / f"{name}.parquet", index=False)
        scores[f"released.emotion.loss.{name}"] = float(released.loss.tail(3).mean())
    return scores | {"released.emotion.loss.chance": float(np.log(len(emotions_with_clips(features))))}


def _language(run: Path) -> str:
    return read_results(stage_folder(run, "priors"))["stages"]["priors"]["config"]["language"]


def prompt_likeness(folder: Path) -> tuple[np.ndarray, list[str]]:
    """(K, K) cosines of CERL's learnt prompts with its prototypes at level 3, and the K emotions of the training clips."""
    targets = load_file(folder / "targets.safetensors")
    shown = [k for k in range(len(EMOTIONS)) if targets["prototypes"][k].any()]
    return targets["text"][shown] @ targets["prototypes"][shown, 2].T, [EMOTIONS[k] for k in shown]
