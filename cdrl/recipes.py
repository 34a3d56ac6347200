"""How every committed network is trained again: `cdrl train NAME`.

The corpora that recipes need are rendered once and stay on the disk.
"""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cdrl.core.checkpoint import load_card, save_weights
from cdrl.core.files import read_json, write_json
from cdrl.core.presets import IMAGE_EDITOR
from cdrl.core.settings import (
    ActionsConfig,
    ContentConfig,
    EmotionConfig,
    GeneratorConfig,
    StudyConfig,
)
from cdrl.core.vocabulary import EMOTIONS
from cdrl.corpora.store import Store
from cdrl.editors.actions import (
    DEFAULT_RENDERER,
    KIND,
    MANIPULATOR,
    RENDERER,
    load_manipulator,
    load_renderer,
)
from cdrl.editors.base import EditorCard, card_entries
from cdrl.editors.image import (
    WindowGuidance,
    emotions_of,
    image_entries,
    train_image_editor,
    train_start,
)
from cdrl.editors.manipulator import ActionWindowGuidance, train_action_manipulator
from cdrl.editors.renderer import (
    rendering_scores,
    sample_changes,
    train_action_renderer,
    with_fine_shading,
)
from cdrl.evaluation.judge_training import train_identity, train_judge, train_tracker
from cdrl.models.action_networks import ActionManipulator
from cdrl.models.action_renderer import ActionRenderer
from cdrl.priors.actions import ACTION_TRACKER, ActionTracker, load_tracker, track
from cdrl.priors.features import Features, extract
from cdrl.representation.ccrl import train_content
from cdrl.representation.cerl import train_emotion
from cdrl.representation.distillation import distil, fit_scores
from cdrl.representation.guidance import Guidance
from cdrl.representation.pairs import find_pairs
from cdrl.studio import corpus as studio
from cdrl.studio.changes import render_changes
from cdrl.studio.people import VERSION
from cdrl.studio.sentences import SENTENCES
from cdrl.studio.speech import speak_all, utterance, voice_of
from cdrl.training.action_tracker import train_action_tracker
from cdrl.training.audio_prior import Utterance, train_audio_prior
from cdrl.training.backbones import train_backbone, train_identity_backbone
from cdrl.training.language_prior import train_language_prior
from cdrl.training.mesh_tracker import train_mesh_tracker

PEOPLE = {"priors": 640, "train": 640, "action_tracker": 640, "judge": 160, "choose": 24}
CLIPS = 8  # per person who trains or judges
MESH_PEOPLE = 160  # of `action_tracker`, whose mesh is read; two clips of each
MESH_CLIPS = 2
SPEAKERS = 160  # of the audio prior
UTTERANCES = 3000
HELD_OUT_UTTERANCES = 120
GENERATOR_STEPS = 600
GENERATOR_BATCH = 6
RENDERER_STEPS = {"pixels": 16000, "perceptual": 4000}
TRAINING_CHANGES = 1280  # clips that are rendered with changed actions
HELD_OUT_CHANGES = 96
DEFAULT_RENDERER_STEPS = {"pixels": 5000, "perceptual": 1500}
DEFAULT_RENDERER_CLIPS = 2  # of each person of `train`, in version 2 of the studio
DEFAULT_RENDERER_HELD_OUT = {"people": 12, "sentences": 2}  # of `choose`
LICENCE = "Apache-2.0"

Card = dict[str, Any]


@dataclass(frozen=True)
class Recipe:
    """How a committed network is trained again.

    Args:
        name: of its weights.
        description: what it computes and how it is trained.
        minutes: one core with OMP_NUM_THREADS=1, beside another training, read off a clock;
            corpora are not counted.
        make: (folder of the weights, folder of corpora, features and checkpoints) -> card.
    """

    name: str
    description: str
    minutes: str
    make: Callable[[Path, Path], Card]

    @property
    def summary(self) -> str:
        """Description and cost in one line."""
        return f"{self.description}; {self.minutes}."


def corpus(split: str, work: Path) -> Store:
    """The rendered corpus of a split, rendered where it is missing.

    `priors`, `train` and `action_tracker` are 261,000 frames each, 9 minutes on two idle cores,
    8 GB; `judge` is a quarter of that.

    Args:
        split: of the studio.
        work: folder of the recipe; corpora lie beside it.
    """
    path = _corpora_folder(work) / split
    if not (path / "store.json").exists():
        people = PEOPLE[split]
        clips = studio.specs(split, people=people, clips=CLIPS)
        studio.generate(clips, path, split)

    return Store(path)


def _corpora_folder(work: Path) -> Path:
    """Where corpora of the studio's present version lie."""
    name = "corpora" if VERSION == 1 else f"corpora_{VERSION}"
    return Path(work).parent / name


# Priors


def _speak(split: str, texts: str, count: int) -> list[Utterance]:
    """Utterances of a split's people; every person, text and emotion in turn."""
    people = studio.SPLITS[split].people[:SPEAKERS]
    sentences = SENTENCES[texts]
    items = []
    for number in range(count):
        voice = voice_of(people[number % len(people)])
        text = sentences[(number * 7) % len(sentences)]
        emotion = EMOTIONS[number % 8]
        level = 1 + number % 3
        items.append(utterance(voice, text, emotion, level))

    utterances = []
    for speech in speak_all(items):
        utterances.append(
            Utterance(speech.audio, speech.start_seconds, speech.end_seconds, speech.phoneme)
        )
    return utterances


def _make_audio_prior(out: Path, work: Path) -> Card:
    utterances = _speak("priors", "train", UTTERANCES)
    held_out = _speak("choose", "choose", HELD_OUT_UTTERANCES)
    return train_audio_prior(utterances, held_out, out, work)


def _make_face_backbone(out: Path, work: Path) -> Card:
    return _make_backbone("face", out, work, 10_000, 2500)


def _make_mouth_backbone(out: Path, work: Path) -> Card:
    return _make_backbone("mouth", out, work, 12_000, 5000)


def _make_backbone(kind: str, out: Path, work: Path, steps: int, more_steps: int) -> Card:
    """On the people of `priors`, then on those of `train` too.

    The latter are also the people that CCRL, CERL and the editors are trained on.
    """
    first = corpus("priors", work)
    others = corpus("train", work)
    held_out = corpus("choose", work)
    return train_backbone(kind, first, held_out, out, work, steps, others, more_steps)


def _make_face_identity(out: Path, work: Path) -> Card:
    return _make_identity_backbone("face", out, work)


def _make_mouth_identity(out: Path, work: Path) -> Card:
    return _make_identity_backbone("mouth", out, work)


def _make_identity_backbone(kind: str, out: Path, work: Path) -> Card:
    people = corpus("priors", work)
    held_out = corpus("choose", work)
    return train_identity_backbone(kind, people, held_out, out, work)


def _make_language_prior(out: Path, work: Path) -> Card:
    people = corpus("priors", work)
    held_out = corpus("choose", work)
    return train_language_prior(people, held_out, out, work)


# Networks of the evaluation


def _make_judge_a(out: Path, work: Path) -> Card:
    return train_judge("judge_a", corpus("judge", work), corpus("choose", work), out, work)


def _make_judge_b(out: Path, work: Path) -> Card:
    return train_judge("judge_b", corpus("judge", work), corpus("choose", work), out, work)


def _make_tracker(out: Path, work: Path) -> Card:
    return train_tracker(corpus("judge", work), corpus("choose", work), out, work)


def _make_identity(out: Path, work: Path) -> Card:
    return train_identity(corpus("judge", work), corpus("choose", work), out, work)


# Guidance


def _make_guidance(out: Path, work: Path) -> Card:
    """Train both encoders as the study's first seed does."""
    folder = out / "guidance"
    features = extract(corpus("train", work), work / "features")
    study = StudyConfig()

    content_config = ContentConfig(steps=study.content_steps, pairs=study.pairs)
    pairs = find_pairs(features, content_config)
    _, content_history = train_content(features, pairs, content_config, folder / "content")

    emotion_config = EmotionConfig(steps=study.emotion_steps)
    _, emotion_history = train_emotion(features, emotion_config, "embedded", folder / "emotion")

    scores = {}
    for kind, history in (("content", content_history), ("emotion", emotion_history)):
        shutil.rmtree(folder / kind / "training")
        _complete_guidance_card(folder / kind / "model.json")
        for name, value in history.iloc[-1].items():
            scores[f"{kind}.{name}"] = round(float(value), 4)
    return {"scores": scores}


def _complete_guidance_card(path: Path) -> None:
    """Add to the card of an encoder how it is trained again."""
    card = read_json(path, dict) | {
        "command": "cdrl train guidance",
        "licence": LICENCE,
        "held_out": "results/study: the rows of the method",
        "truth": "speaker, sentence, emotion and level of training clips; pairs by the audio "
        "prior; the frozen backbones saw coefficients",
    }
    write_json(path, card)


# Editors


def _make_generator_start(out: Path, work: Path) -> Card:
    return train_start(corpus("train", work), out, work)


def _make_generator(out: Path, work: Path) -> Card:
    config = GeneratorConfig(
        editor="image",
        steps=GENERATOR_STEPS,
        batch=GENERATOR_BATCH,
        learning_rate=IMAGE_EDITOR["generator.learning_rate"],
    )
    guidance = WindowGuidance(Guidance())
    editor, history = train_image_editor(
        corpus("train", work), guidance, config, "cdrl", Path(work)
    )
    card = image_entries(editor, out) | {
        "name": "generator",
        "command": "cdrl train generator",
        "licence": LICENCE,
        "truth": "none: crops, emotion and level of unpaired clips, CDRL guidance; no true edit",
        "trained_on": f"{PEOPLE['train']} people, from generator_start, {config.steps} steps of "
        f"{config.batch} windows",
        "scores": _last_terms(history),
    }
    save_weights(out / "generator.safetensors", editor, card)
    return card


def _last_terms(history: pd.DataFrame) -> dict[str, float]:
    """The terms of the last ten rows of a history, averaged."""
    terms = history.tail(10).mean().drop("step")
    return terms.round(4).to_dict()


def _make_action_tracker(out: Path, work: Path) -> Card:
    corpora = (_extract("train", work), _extract("action_tracker", work))
    return train_action_tracker(corpora, _extract("choose", work), out, work / "training")


def _make_mesh_tracker(out: Path, work: Path) -> Card:
    path = _corpora_folder(work) / "mesh_tracker"
    if not (path / "store.json").exists():
        clips = studio.specs("action_tracker", people=MESH_PEOPLE, clips=MESH_CLIPS)
        studio.generate(clips, path, "action_tracker")

    return train_mesh_tracker(Store(path), corpus("choose", work), out, work)


def _extract(split: str, work: Path) -> Features:
    return extract(corpus(split, work), work / split)


def _make_action_manipulator(out: Path, work: Path) -> Card:
    features = _extract("train", work)
    held_out = _extract("choose", work)
    tracker = load_tracker()
    tracked = track(features, tracker)
    held_out_tracked = track(held_out, tracker)

    teacher = Guidance()
    config = ActionsConfig()
    students = distil(features, tracked, teacher, config, work / "students")
    manipulator, history = train_action_manipulator(
        tracked,
        ActionWindowGuidance(students, config.contrast_content),
        config,
        "cdrl",
        work / "manipulator",
    )

    scores = {}
    for name, value in fit_scores(students, held_out, held_out_tracked, teacher).items():
        scores[f"student.{name}"] = round(value, 4)
    store = features.store
    editor_card = EditorCard(MANIPULATOR, emotions_of(store), store.crop)
    card = card_entries(editor_card, out) | {
        "model": {},
        "command": "cdrl train action_manipulator",
        "licence": LICENCE,
        "tracker": ACTION_TRACKER,
        "truth": "none: tracked actions, emotion and level of unpaired clips, distilled guidance; "
        "no true edit",
        "trained_on": f"{PEOPLE['train']} people, {config.steps} steps of {config.batch} windows",
        "scores": scores | _last_terms(history),
    }
    save_weights(out / "action_manipulator.safetensors", manipulator, card)
    return card


@dataclass(frozen=True)
class _Changes:
    """Clips, and the same clips rendered with changed actions.

    Args:
        source: the clips.
        changed: rendered again.
        coefficients: (N, 52) tracked actions of the source.
    """

    source: Store
    changed: Store
    coefficients: np.ndarray


def _render_changes(
    store: Store,
    count: int,
    tracker: ActionTracker,
    manipulator: ActionManipulator,
    work: Path,
    varied: bool = False,
) -> _Changes:
    name = store.path.name
    tracked = track(extract(store, work / "features" / name), tracker)

    path = work / f"{name}_changed"
    if not (path / "store.json").exists():
        changes = sample_changes(manipulator, tracked, count, varied=varied)
        render_changes(store, changes, path)

    return _Changes(store, Store(path), tracked.coefficients)


def _make_action_renderer(out: Path, work: Path) -> Card:
    tracker = load_tracker()
    manipulator = load_manipulator()
    train_store = corpus("train", work)
    held_out_store = corpus("choose", work)
    train = _render_changes(train_store, TRAINING_CHANGES, tracker, manipulator, work)
    held_out = _render_changes(held_out_store, HELD_OUT_CHANGES, tracker, manipulator, work)

    renderer, history = train_action_renderer(
        train.source, train.changed, train.coefficients, RENDERER_STEPS, work / "training"
    )
    scores = _renderer_scores(renderer, held_out, history)

    emotions = tuple(load_card(MANIPULATOR)["emotions"])
    editor_card = EditorCard(RENDERER, emotions, train.source.crop)
    card = card_entries(editor_card, out) | {
        "model": {},
        "editor": KIND,
        "command": "cdrl train action_renderer",
        "licence": LICENCE,
        "manipulator": MANIPULATOR,
        "tracker": ACTION_TRACKER,
        "held_out": "choosing set: other people and other sentences",
        "truth": "pairs: training clips, and the same clips rendered with their actions changed as "
        "the action manipulator with CDRL edits them; no true edit",
        "trained_on": f"{PEOPLE['train']} people, {TRAINING_CHANGES} changed clips, "
        f"{RENDERER_STEPS['pixels']} steps of 24 frames, and {RENDERER_STEPS['perceptual']} that "
        "compare features of the vision prior too",
        "scores": scores,
    }
    save_weights(out / "action_renderer.safetensors", renderer, card)
    return card


def _renderer_scores(
    renderer: ActionRenderer, held_out: _Changes, history: dict[str, pd.DataFrame]
) -> dict[str, float]:
    """How changes of other people are rendered, and the last terms of the training."""
    terms = history["perceptual"].tail(10).mean().drop("step").to_dict()
    held_out_scores = rendering_scores(
        renderer, held_out.source, held_out.changed, held_out.coefficients
    )
    scores = {}
    for name, value in (held_out_scores | terms).items():
        scores[name] = round(value, 4)
    return scores


def _make_default_renderer(out: Path, work: Path) -> Card:
    """Train the committed action renderer further, on people of version 2 of the studio."""
    tracker = load_tracker()
    manipulator = load_manipulator()
    train_store = _varied_people(
        "train", work, clips=DEFAULT_RENDERER_CLIPS, people=PEOPLE["train"]
    )
    held_out_store = _varied_people("choose", work, **DEFAULT_RENDERER_HELD_OUT)
    train = _render_changes(train_store, TRAINING_CHANGES, tracker, manipulator, work, varied=True)
    held_out = _render_changes(
        held_out_store, HELD_OUT_CHANGES, tracker, manipulator, work, varied=True
    )

    renderer, history = train_action_renderer(
        train.source,
        train.changed,
        train.coefficients,
        DEFAULT_RENDERER_STEPS,
        work / "training",
        start=with_fine_shading(load_renderer()),
    )
    card = {
        "name": DEFAULT_RENDERER,
        "model": renderer.config,
        "command": f"cdrl train {DEFAULT_RENDERER}",
        "licence": LICENCE,
        "manipulator": MANIPULATOR,
        "tracker": ACTION_TRACKER,
        "held_out": "choosing set, studio version 2: other people and other sentences",
        "truth": "pairs: training clips, and the same clips rendered with their actions changed as "
        "the action manipulator edits them, more or less of each group, and action units by lot; "
        "no true edit",
        "trained_on": f"{PEOPLE['train']} people of studio version 2, {TRAINING_CHANGES} changed "
        f"clips, from {RENDERER}, {DEFAULT_RENDERER_STEPS['pixels']} steps of 24 frames, and "
        f"{DEFAULT_RENDERER_STEPS['perceptual']} that compare features of the vision prior too",
        "scores": _renderer_scores(renderer, held_out, history),
    }
    save_weights(out / f"{DEFAULT_RENDERER}.safetensors", renderer, card)
    return card


def _varied_people(split: str, work: Path, **sizes: int) -> Store:
    """Some clips of a split as version 2 of the studio renders them, once."""
    path = work / split
    if not (path / "store.json").exists():
        studio.generate(studio.specs(split, version=2, **sizes), path, split)

    return Store(path)


_ALL = (
    Recipe(
        "audio_prior",
        "Frame-wise phonemes from log-mel; 3,000 espeak-ng utterances (needs the extra [studio])",
        "4 minutes",
        _make_audio_prior,
    ),
    Recipe(
        "face_backbone", "Facial actions from the aligned face", "30 minutes", _make_face_backbone
    ),
    Recipe(
        "mouth_backbone", "Mouth actions from the mouth's box", "15 minutes", _make_mouth_backbone
    ),
    Recipe(
        "face_identity",
        "A face backbone that never saw a coefficient: speaker labels only, for the study",
        "5 minutes",
        _make_face_identity,
    ),
    Recipe(
        "mouth_identity",
        "A mouth backbone that never saw a coefficient: speaker labels only, for the study",
        "4 minutes",
        _make_mouth_identity,
    ),
    Recipe(
        "language_prior",
        "A tiny CLIP over captions of facial actions, on the frozen face backbone",
        "2 minutes",
        _make_language_prior,
    ),
    Recipe("judge_a", "First emotion judge (evaluation only)", "9 minutes", _make_judge_a),
    Recipe(
        "judge_b",
        "Second emotion judge, another architecture (evaluation only)",
        "12 minutes",
        _make_judge_b,
    ),
    Recipe(
        "tracker",
        "Facial actions and landmarks from a crop (evaluation only)",
        "13 minutes",
        _make_tracker,
    ),
    Recipe(
        "identity", "Identity embedding of a crop (evaluation only)", "6 minutes", _make_identity
    ),
    Recipe(
        "guidance",
        "The content and emotion encoders (CCRL, CERL), trained as the study's first seed",
        "6 minutes",
        _make_guidance,
    ),
    Recipe(
        "generator_start",
        "The image editor without guidance, where both variants of notebook 05 begin",
        "5 minutes",
        _make_generator_start,
    ),
    Recipe(
        "generator",
        "The image editor with CDRL guidance, where `cdrl edit --editor image --fit` begins",
        "3 minutes",
        _make_generator,
    ),
    Recipe(
        "action_tracker",
        "Facial actions from the features of the backbones",
        "8 minutes",
        _make_action_tracker,
    ),
    Recipe(
        "mesh_tracker",
        "Changes of facial actions from the face mesh, which real faces taught",
        "3 minutes",
        _make_mesh_tracker,
    ),
    Recipe(
        "action_manipulator",
        "Edits facial actions, trained on unpaired clips with distilled CDRL guidance",
        "5 minutes",
        _make_action_manipulator,
    ),
    Recipe(
        "action_renderer",
        "Draws changed facial actions into crops, trained on clips rendered with changed actions",
        "75 and 30 minutes, after 10 of rendering on two idle cores",
        _make_action_renderer,
    ),
    Recipe(
        DEFAULT_RENDERER,
        "The same for the default editor: trained further on more kinds of faces, shades finely",
        "30 minutes, after 30 of rendering",
        _make_default_renderer,
    ),
)
RECIPES = {recipe.name: recipe for recipe in _ALL}
