"""Who teaches the students that guide the action manipulator: CDRL, and its opponents.

Each opponent puts something else in the place of one embedding, or of both. All are distilled in
the same way, with the same steps, on the same people.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F

from cdrl.baselines.released.networks import ReleasedContent
from cdrl.baselines.released.training import embed_released, train_released_content
from cdrl.core.checkpoint import load_tensors
from cdrl.core.files import write_json
from cdrl.core.settings import ContentConfig, EmotionConfig, StudyConfig
from cdrl.priors.features import Features
from cdrl.priors.language import LanguagePrior
from cdrl.representation.cerl import mean_by_label
from cdrl.representation.classifier import train_classifier, without_bottleneck
from cdrl.representation.components import load_emotion_encoder
from cdrl.representation.distillation import Teachers, teachers_of
from cdrl.representation.guidance import Guidance
from cdrl.representation.untrained_code import COMPONENTS, fit_untrained_code
from cdrl.study.flat import train_until_flat
from cdrl.study.inputs import LANGUAGE, encoder_folder, study_features, training_pairs

RELEASED_CONTENT = 256  # numbers of its projected maps
LAST_ROWS = 5  # of a history, whose mean is the last loss

# (work, config, seed, folder with the encoders of that seed) -> teachers.
MakeTeachers = Callable[[Path, StudyConfig, int, Path], Teachers]


def emotion_settings(config: StudyConfig, seed: int, bottleneck: bool) -> EmotionConfig:
    """Return the settings of a classifier: those of CERL, with its bottleneck or without.

    Args:
        config: the study's settings.
        seed: of the training.
        bottleneck: whether the code passes it.
    """
    settings = EmotionConfig(steps=config.emotion_steps, seed=seed)
    return settings if bottleneck else without_bottleneck(settings)


def classifier_folder(
    work: Path, settings: EmotionConfig, backbone: str = "actions", data: str = ""
) -> Path:
    """Return the folder of a classifier that was trained with these settings.

    Args:
        work: the study's work folder.
        settings: of `emotion_settings`.
        backbone: `actions` or `identity`.
        data: what it is trained on instead of all clips, of `training_data`.
    """
    return encoder_folder(work, "emotion", settings, backbone, f"{data or 'all'}-classifier")


def _cdrl(work: Path, config: StudyConfig, seed: int, guidance: Path) -> Teachers:
    """CCRL and CERL."""
    return teachers_of(Guidance(guidance))


def _with_classifier(
    work: Path, config: StudyConfig, seed: int, guidance: Path, bottleneck: bool
) -> Teachers:
    """CCRL, and a classifier in the place of CERL."""
    settings = emotion_settings(config, seed, bottleneck)
    folder = classifier_folder(work, settings)
    if not (folder / "model.safetensors").exists():
        train_classifier(study_features(work, "train", "actions"), settings, LANGUAGE, folder)

    prototypes = load_tensors(folder / "targets.safetensors")["prototypes"]
    content = teachers_of(Guidance(guidance))
    return Teachers(
        content.embed_content, load_emotion_encoder(folder), prototypes, content.content_size
    )


def _with_untrained_code(
    work: Path, config: StudyConfig, seed: int, guidance: Path, emotion: MakeTeachers
) -> Teachers:
    """An untrained code in the place of CCRL, and the emotion embedding of other teachers."""
    code = fit_untrained_code(study_features(work, "train", "actions"), seed=seed)
    of_emotion = emotion(work, config, seed, guidance)
    return Teachers(code.embed, of_emotion.embed_emotion, of_emotion.prototypes, COMPONENTS)


def _released(work: Path, config: StudyConfig, seed: int, guidance: Path) -> Teachers:
    """What the released losses leave: CCRL's maps under their sound, CLIP's image features."""
    features = study_features(work, "train", "actions")
    pairs = training_pairs(work, ContentConfig(pairs=config.pairs, seed=seed))
    network, notes = train_until_flat(
        partial(train_released_to, features, pairs, seed), config.released_steps
    )
    write_json(guidance / "released_flat.json", notes)

    def embed_content(of_clips: Features) -> np.ndarray:
        rows = np.arange(len(of_clips.store))
        embedding = embed_released(network, of_clips, rows, rows)
        length = np.linalg.norm(embedding, axis=1, keepdims=True)
        return embedding / np.maximum(length, 1e-8)

    prior = LanguagePrior(LANGUAGE)
    num_language = features.language.shape[1]

    def embed_emotion(windows: torch.Tensor) -> torch.Tensor:
        images = windows[..., :num_language]
        return F.normalize(prior.project(images).mean(1), dim=-1)

    clips = [
        embed_emotion(_clip_inputs(features, clip)) for clip in range(len(features.store.clips))
    ]
    prototypes = mean_by_label(torch.cat(clips), features)
    return Teachers(embed_content, embed_emotion, prototypes, RELEASED_CONTENT)


def train_released_to(
    features: Features, pairs: pd.DataFrame, seed: int, steps: int
) -> tuple[ReleasedContent, float]:
    """Train CCRL as released for some steps.

    Args:
        features: of the training people.
        pairs: table of pairs of clips.
        seed: of weights and batches.
        steps: optimiser steps.

    Returns:
        The network, and its last loss.
    """
    network, history = train_released_content(features, pairs, steps, seed)
    return network, float(history["loss"].tail(LAST_ROWS).mean())


def _clip_inputs(features: Features, clip: int) -> torch.Tensor:
    """(1, T, L) image features of one clip."""
    frames = np.asarray(features.language[features.store.frames(clip)], np.float32)
    return torch.from_numpy(frames)[None]


_classifier = partial(_with_classifier, bottleneck=False)
TEACHERS: dict[str, MakeTeachers] = {
    "cdrl": _cdrl,
    "classifier": _classifier,
    "classifier_bottleneck": partial(_with_classifier, bottleneck=True),
    "untrained": partial(_with_untrained_code, emotion=_cdrl),
    "classifier_untrained": partial(_with_untrained_code, emotion=_classifier),
    "released_flat": _released,
}
