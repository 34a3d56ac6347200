"""How every committed network is made again: `cdrl train NAME`. The corpora they need are rendered once and kept.

Minutes: one core, OMP_NUM_THREADS=1, beside another training, corpora not counted; read off a clock, to the minute or so.
"""

import shutil
from pathlib import Path

from cdrl.core.checkpoint import load_card, save_weights
from cdrl.core.files import read_json, write_json
from cdrl.core.settings import (
    ActionsConfig,
    ContentConfig,
    EmotionConfig,
    GeneratorConfig,
    StudyConfig,
)
from cdrl.core.vocabulary import EMOTIONS
from cdrl.corpora.store import Store
from cdrl.editors.actions import KIND, MANIPULATOR, RENDERER, load_manipulator
from cdrl.editors.base import EditorCard, card_entries
from cdrl.editors.image import (
    WindowGuidance,
    emotions_of,
    image_entries,
    train_image_editor,
    train_start,
)
from cdrl.editors.manipulator import ActionWindowGuidance, train_action_manipulator
from cdrl.editors.renderer import rendering_scores, sample_changes, train_action_renderer
from cdrl.evaluation import judge_training
from cdrl.priors.actions import ACTION_TRACKER, load_tracker, track
from cdrl.priors.features import extract
from cdrl.representation.content import train_content
from cdrl.representation.distillation import distil, fit_scores
from cdrl.representation.emotion import train_emotion
from cdrl.representation.guidance import Guidance
from cdrl.representation.pairs import find_pairs
from cdrl.studio import corpus as studio
from cdrl.studio.changes import render_changes
from cdrl.studio.sentences import SENTENCES
from cdrl.studio.speech import speak_all, utterance, voice_of
from cdrl.training import backbones as priors
from cdrl.training.tracker import train_action_tracker

PEOPLE = {"priors": 640, "train": 640, "action_tracker": 640, "judge": 160, "choose": 24}
CLIPS = 8  # per person who trains or judges
GENERATOR_STEPS = 600
RENDERER_STEPS = {"pixels": 16000, "perceptual": 4000}
CHANGES = {"train": 1280, "choose": 96}  # clips that are rendered with changed actions
GUIDANCE_CARD = {
    "command": "cdrl train guidance",
    "licence": "Apache-2.0",
    "held_out": "results/study: the rows of the method",
    "truth": "speaker, sentence, emotion and level of training clips; pairs by the audio prior; the frozen backbones saw coefficients",
}


def corpus(split: str, work: Path) -> Store:
    """The rendered corpus of a split, made where it is missing.

    `priors`, `train` and `action_tracker` are 261,000 frames each, 9 minutes on two idle cores, 8 GB; `judge` a quarter of that.
    """
    path = Path(work).parent / "corpora" / split
    if not (path / "store.json").exists():
        specs = studio.specs(split, people=PEOPLE[split], clips=CLIPS)
        studio.generate(specs, path, split)
    return Store(path)


def _speech(people: tuple, texts: tuple, count: int) -> list:
    """`count` utterances as (sound, start seconds, end seconds, phonemes); every person, text and emotion in turn."""
    items = [
        utterance(
            voice_of(people[k % len(people)]),
            texts[(k * 7) % len(texts)],
            EMOTIONS[k % 8],
            1 + k % 3,
        )
        for k in range(count)
    ]
    found = speak_all(items)
    return [(s.audio, s.start_seconds, s.end_seconds, s.phoneme) for s in found]


def audio_prior(out: Path, work: Path) -> dict:
    """Frame-wise phonemes from log-mel; 3,000 espeak-ng utterances (needs the extra [studio]); 4 minutes."""
    train, held_out = (
        _speech(studio.SPLITS[split].people[:160], SENTENCES[texts], count)
        for split, texts, count in (("priors", "train", 3000), ("choose", "choose", 120))
    )
    return priors.train_audio_prior(train, held_out, Path(out), Path(work))


def face_backbone(out: Path, work: Path) -> dict:
    """Facial actions from the aligned face; 30 minutes."""
    return _backbone("face", out, work, 10_000, 2500)


def mouth_backbone(out: Path, work: Path) -> dict:
    """Mouth actions from the mouth's box; 15 minutes."""
    return _backbone("mouth", out, work, 12_000, 5000)


def _backbone(kind: str, out: Path, work: Path, steps: int, more_steps: int) -> dict:
    """On the people of `priors`, then on those of `train` too: the people that CCRL, CERL and the hosts are trained on as well."""
    first, others, held_out = (corpus(split, work) for split in ("priors", "train", "choose"))
    return priors.train_backbone(
        kind, first, held_out, Path(out), Path(work), steps, others, more_steps
    )


def face_identity(out: Path, work: Path) -> dict:
    """A face backbone that never saw a coefficient: speaker labels only, for the study; 5 minutes."""
    return priors.train_identity_backbone(
        "face", corpus("priors", work), corpus("choose", work), Path(out), Path(work)
    )


def mouth_identity(out: Path, work: Path) -> dict:
    """A mouth backbone that never saw a coefficient: speaker labels only, for the study; 4 minutes."""
    return priors.train_identity_backbone(
        "mouth", corpus("priors", work), corpus("choose", work), Path(out), Path(work)
    )


def language_prior(out: Path, work: Path) -> dict:
    """A tiny CLIP over captions of facial actions, on the frozen face backbone; 2 minutes."""
    return priors.train_language_prior(
        corpus("priors", work), corpus("choose", work), Path(out), Path(work)
    )


def judge_a(out: Path, work: Path) -> dict:
    """First emotion judge (evaluation only); 9 minutes."""
    return judge_training.train_judge(
        "judge_a", corpus("judge", work), corpus("choose", work), Path(out), Path(work)
    )


def judge_b(out: Path, work: Path) -> dict:
    """Second emotion judge, another architecture (evaluation only); 12 minutes."""
    return judge_training.train_judge(
        "judge_b", corpus("judge", work), corpus("choose", work), Path(out), Path(work)
    )


def tracker(out: Path, work: Path) -> dict:
    """Facial actions and landmarks from a crop (evaluation only); 13 minutes."""
    return judge_training.train_tracker(
        corpus("judge", work), corpus("choose", work), Path(out), Path(work)
    )


def identity(out: Path, work: Path) -> dict:
    """Who is it (evaluation only); 6 minutes."""
    return judge_training.train_identity(
        corpus("judge", work), corpus("choose", work), Path(out), Path(work)
    )


def guidance(out: Path, work: Path) -> dict:
    """The committed content and emotion encoders (CCRL, CERL), trained as the study's first seed; 6 minutes."""
    folder = Path(out) / "guidance"
    features = extract(corpus("train", work), Path(work) / "features")
    study = StudyConfig()
    settings = ContentConfig(steps=study.content_steps, pairs=study.pairs)
    _, content = train_content(
        features, find_pairs(features, settings), settings, folder / "content"
    )
    _, emotion = train_emotion(
        features, EmotionConfig(steps=study.emotion_steps), "embedded", folder / "emotion"
    )
    for kind in ("content", "emotion"):
        shutil.rmtree(folder / kind / "training")
        write_json(
            folder / kind / "model.json", read_json(folder / kind / "model.json") | GUIDANCE_CARD
        )
    last = {f"content.{k}": v for k, v in content.iloc[-1].items()} | {
        f"emotion.{k}": v for k, v in emotion.iloc[-1].items()
    }
    return {"scores": {name: round(float(value), 4) for name, value in last.items()}}


def generator_start(out: Path, work: Path) -> dict:
    """The image host without guidance, what both variants of notebook 05 begin with; 5 minutes."""
    return train_start(corpus("train", work), Path(out), Path(work))


def generator(out: Path, work: Path) -> dict:
    """The image host with CDRL guidance, what `cdrl edit --fit` begins with; 3 minutes."""
    config = GeneratorConfig(steps=GENERATOR_STEPS, batch=6)
    store = corpus("train", work)
    net, history = train_image_editor(store, WindowGuidance(Guidance()), config, "cdrl", Path(work))
    card = image_entries(net, Path(out)) | {
        "name": "generator",
        "command": "cdrl train generator",
        "licence": "Apache-2.0",
        "truth": "none: crops, emotion and level of unpaired clips, CDRL guidance; no true edit",
        "trained_on": f"{PEOPLE['train']} people, from generator_start, {config.steps} steps of {config.batch} windows",
        "scores": history.tail(10).mean().drop("step").round(4).to_dict(),
    }
    save_weights(Path(out) / "generator.safetensors", net, card)
    return card


def action_tracker(out: Path, work: Path) -> dict:
    """The coefficient host's tracker: facial actions from the backbones' features; 8 minutes."""
    *found, held_out = (
        extract(corpus(split, work), Path(work) / split)
        for split in ("train", "action_tracker", "choose")
    )
    return train_action_tracker(tuple(found), held_out, Path(out), Path(work) / "training")


def action_manipulator(out: Path, work: Path) -> dict:
    """The coefficient host with distilled CDRL guidance, unpaired; its card holds the students' fit on other people; 5 minutes."""
    features = {
        split: extract(corpus(split, work), Path(work) / split) for split in ("train", "choose")
    }
    tracked = {split: track(each, load_tracker()) for split, each in features.items()}
    teacher, config = Guidance(), ActionsConfig()
    students = distil(features["train"], tracked["train"], teacher, config, Path(work) / "students")
    manipulator, history = train_action_manipulator(
        tracked["train"], ActionWindowGuidance(students), config, "cdrl", Path(work) / "manipulator"
    )
    fit = fit_scores(students, features["choose"], tracked["choose"], teacher)
    store = features["train"].store
    learnt = EditorCard(MANIPULATOR, emotions_of(store), store.crop)
    card = card_entries(learnt, Path(out)) | {
        "model": {},
        "command": "cdrl train action_manipulator",
        "licence": "Apache-2.0",
        "tracker": ACTION_TRACKER,
        "truth": "none: tracked actions, emotion and level of unpaired clips, distilled guidance; no true edit",
        "trained_on": f"{PEOPLE['train']} people, {config.steps} steps of {config.batch} windows",
        "scores": {f"student.{k}": round(v, 4) for k, v in fit.items()}
        | history.tail(10).mean().drop("step").round(4).to_dict(),
    }
    save_weights(Path(out) / "action_manipulator.safetensors", manipulator, card)
    return card


def action_renderer(out: Path, work: Path) -> dict:
    """The coefficient host's neural renderer: clips with changed actions, 10 minutes to render on two idle cores; then 75 and 30 minutes."""
    tracker, manipulator, found = load_tracker(), load_manipulator(), {}
    for split, number in CHANGES.items():
        features = extract(corpus(split, work), Path(work) / split)
        tracked, path = track(features, tracker), Path(work) / f"{split}_changed"
        if not (path / "store.json").exists():
            render_changes(features.store, sample_changes(manipulator, tracked, number), path)
        found[split] = features.store, Store(path), tracked.coefficients
    store = found["train"][0]
    renderer, history = train_action_renderer(
        *found["train"], RENDERER_STEPS, Path(work) / "training"
    )
    scores = rendering_scores(renderer, *found["choose"])
    learnt = EditorCard(RENDERER, tuple(load_card(MANIPULATOR)["emotions"]), store.crop)
    card = card_entries(learnt, Path(out)) | {
        "model": {},
        "editor": KIND,
        "command": "cdrl train action_renderer",
        "licence": "Apache-2.0",
        "manipulator": MANIPULATOR,
        "tracker": ACTION_TRACKER,
        "held_out": "choosing set: other people and other sentences",
        "truth": "pairs: training clips, and the same clips rendered with their actions changed as the action manipulator with CDRL edits them; no true edit",
        "trained_on": f"{PEOPLE['train']} people, {CHANGES['train']} changed clips, {RENDERER_STEPS['pixels']} steps of 24 frames, and {RENDERER_STEPS['perceptual']} that compare features of the vision prior too",
        "scores": {
            name: round(value, 4)
            for name, value in (
                scores | history["perceptual"].tail(10).mean().drop("step").to_dict()
            ).items()
        },
    }
    save_weights(Path(out) / "action_renderer.safetensors", renderer, card)
    return card


RECIPES = {
    recipe.__name__: recipe
    for recipe in (
        audio_prior,
        face_backbone,
        mouth_backbone,
        face_identity,
        mouth_identity,
        language_prior,
        judge_a,
        judge_b,
        tracker,
        identity,
        guidance,
        generator_start,
        generator,
        action_tracker,
        action_manipulator,
        action_renderer,
    )
}
