"""Notebook 03: the emotion encoder and its controls."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from cdrl.baselines.released.training import emotions_with_clips, train_released_emotion
from cdrl.core.checkpoint import load_tensors
from cdrl.core.results import read_results
from cdrl.core.settings import EmotionConfig, stage_folder
from cdrl.core.vocabulary import EMOTIONS
from cdrl.evaluation import controls
from cdrl.priors.features import Features
from cdrl.representation.cerl import train_emotion
from cdrl.stages.s01_priors import open_features
from cdrl.training.side_by_side import side_by_side

BLANK_IMAGES = ("constant", "noise")
STRONGEST = 2  # index of level 3 among the prototypes


def train_cerl(run: Path, config: EmotionConfig, out: Path) -> dict[str, float]:
    """Notebook 03: train CERL and its controls, and CERL as released.

    The controls are the same training on constant and noise images.

    Args:
        run: folder of the run.
        config: the stage's settings.
        out: the stage's folder.

    Returns:
        `emotion.loss.*`: the last value of the prompt loss beside its no-information value ln 8;
        `control.*`: the same of the controls; `released.emotion.loss.*`: the released loss on
        faces, on noise, and on noise with one head for all labels, beside ln 7 (the number of
        emotions with clips).
    """
    features = open_features(run, "train")
    language = priors_language(run)

    with side_by_side(
        _released_scores, [(run, language, config, out / "released")], config
    ) as beside:
        _, history = train_emotion(features, config, language, out)
        scores = {
            "emotion.loss.prior": float(history["prior"].iloc[-1]),
            "emotion.loss.prior.chance": float(np.log(len(EMOTIONS))),
        }
        scores |= _control_scores(features, language, config, out)

    [released] = beside
    return scores | released


def _control_scores(
    features: Features, language: str, config: EmotionConfig, out: Path
) -> dict[str, float]:
    """Train CERL on constant and on noise images."""
    short = replace(config, steps=config.control_steps)

    scores = {}
    for kind in BLANK_IMAGES:
        blank = controls.without_information(features, kind, language)
        _, blank_history = train_emotion(blank, short, language, out / kind)
        last = blank_history["prior"].tail(5)
        scores[f"control.{kind}.emotion.loss"] = float(last.mean())

    return scores


def _released_scores(
    run: Path, language: str, config: EmotionConfig, out: Path
) -> dict[str, float]:
    """Train CERL as released on faces and on noise, and write the history of each training."""
    features = open_features(run, "train")
    noise = controls.without_information(features, "noise", language)
    trainings = {
        "faces": (features, False),
        "noise": (noise, False),
        "noise_one_head": (noise, True),
    }

    out.mkdir(exist_ok=True)
    scores = {}
    for name, (images, one_head) in trainings.items():
        history = train_released_emotion(
            images, language, config.released_steps, config.seed, shared=one_head
        )
        history.to_parquet(out / f"{name}.parquet", index=False)
        scores[f"released.emotion.loss.{name}"] = float(history.loss.tail(3).mean())

    num_emotions = len(emotions_with_clips(features))
    scores["released.emotion.loss.chance"] = float(np.log(num_emotions))

    return scores


def priors_language(run: Path) -> str:
    """Return the language prior that a run was made with.

    Args:
        run: folder of the run.
    """
    stages = read_results(stage_folder(run, "priors"))["stages"]
    return stages["priors"]["config"]["language"]


def emotion_strip(features: Features, columns: int = 8) -> tuple[np.ndarray, list[str]]:
    """Show people who say one sentence in two emotions: the middle frames of both clips.

    Args:
        features: of the clips.
        columns: most pairs.

    Returns:
        (2, columns, C, C, 3) uint8 frames, and both emotions of each column.
    """
    store = features.store
    pairs = []
    labels = []
    for _, clips in store.clips.groupby(["speaker", "sentence"], sort=False):
        distinct = clips.drop_duplicates("emotion")
        if len(distinct) < 2:
            continue
        first, second = distinct.iloc[0], distinct.iloc[1]
        middles = [clip["start"] + clip["num_frames"] // 2 for clip in (first, second)]
        pairs.append([store.face[middle] for middle in middles])
        labels.append(f"{first['emotion']}, {second['emotion']}")

    chosen = np.linspace(0, len(pairs) - 1, min(columns, len(pairs))).astype(int)
    frames = np.stack([np.stack(pairs[position]) for position in chosen], 1)
    return frames, [labels[position] for position in chosen]


def prompt_similarity(folder: Path) -> tuple[np.ndarray, list[str]]:
    """Compare CERL's learnt prompts with its prototypes at level 3.

    Args:
        folder: of the stage.

    Returns:
        (K, K) cosines, prompts down, prototypes right; the K emotions of the training clips.
    """
    targets = load_tensors(folder / "targets.safetensors", ("text", "prototypes"))
    prompts = targets["text"].numpy()

    prototypes = targets["prototypes"].numpy()
    has_clips = prototypes.any((1, 2))
    present = np.flatnonzero(has_clips).tolist()
    cosines = prompts[present] @ prototypes[present, STRONGEST].T

    return cosines, [EMOTIONS[index] for index in present]
