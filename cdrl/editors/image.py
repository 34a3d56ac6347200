"""SPFEM: train the generator without ever seeing a true edit; with CDRL guidance and, term for term the same, without."""

from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from cdrl.baselines.released.guidance import ReleasedGuidance
from cdrl.core.checkpoint import load_card, load_weights, save_weights
from cdrl.core.errors import InputError
from cdrl.core.settings import GeneratorConfig
from cdrl.core.vocabulary import EMOTIONS, emotion_index
from cdrl.corpora.batches import images, windows
from cdrl.corpora.store import Store
from cdrl.losses.fields import acceleration, asymmetry, bending, stretching
from cdrl.models.discriminator import FRAMES, Discriminator, conditional_logit, jitter_frames
from cdrl.models.image_editor import ImageEditor, working_view
from cdrl.priors.vision import VisionPrior
from cdrl.representation.content import save_encoder
from cdrl.representation.guidance import Guidance
from cdrl.training.loop import LoopConfig, train

WINDOW = 5  # frames
MIDDLE = slice(WINDOW // 2, WINDOW // 2 + 1)
# What every variant shares. The game alone decides which emotion appears; the rest keeps the face a face.
SHARED = {
    "discriminator": 1.0,
    "adversarial": 0.3,
    "cycle": 5.0,
    "reconstruction": 10.0,
    "bending": 20.0,
    "stretching": 100.0,
    "asymmetry": 40.0,
    "shading": 2.0,
    "residual": 30.0,
    "temporal_smoothness": 50.0,
}
GUIDED = ("content", "emotion")
# The committed start is held closer to its source: the variants shall begin with clean edits, not with strong ones.
START = {"reconstruction": 15.0}
VARIANTS = {
    "baseline": SHARED | {"content": 0.0, "emotion": 0.0},
    "content": SHARED | {"content": 2.0, "emotion": 0.0},
    "emotion": SHARED | {"content": 0.0, "emotion": 2.0},
    "cdrl": SHARED | {"content": 2.0, "emotion": 2.0},
    "released": SHARED | {"content": 10.0, "emotion": 50.0},  # the release's own weights
}


def loss_weights(variant: str, config: GeneratorConfig) -> dict:
    """The weights of a variant, with the strengths that the configuration asks for.

    Raises:
        InputError: for a variant that is not in `VARIANTS`.
    """
    if variant not in VARIANTS:
        raise InputError(f"unknown variant {variant!r}: accepted are {', '.join(VARIANTS)}")
    weights = dict(VARIANTS[variant])
    weights["content"] *= config.content_weight
    weights["emotion"] *= config.emotion_weight
    weights["adversarial"] *= config.adversarial_weight
    return weights


class WindowSampler:
    """Draws windows of five frames, as many of every emotion, and for each another emotion to become.

    The emotions asked for are those of the batch in another order, so that what the discriminator sees as real and as
    edited has the same emotions and levels.

    Args:
        store: of training people. batch: windows. mirror: half of them are seen in a mirror.
        targets: emotions to ask for instead, each with any strength. leave_out: emotions whose clips are not used.
        audio: (N, A) the audio prior of the store's frames, where the guidance hears.

    Raises:
        InputError: where no clip has five frames, or all show one emotion and no targets are given.
    """

    def __init__(
        self,
        store: Store,
        batch: int,
        mirror: bool = True,
        targets: tuple = (),
        leave_out: tuple = (),
        audio=None,
    ):
        clips = store.clips
        self.store, self.batch, self.mirror, self.audio = store, batch, mirror, audio
        self.targets = np.array([emotion_index(name) for name in targets])
        self.emotion = clips["emotion"].map(emotion_index).to_numpy()
        self.level = clips["intensity"].to_numpy()
        self.length = clips["num_frames"].to_numpy()
        self.boxes = clips[["mouth_left", "mouth_top", "mouth_right", "mouth_bottom"]].to_numpy(
            np.float32
        )
        usable = np.flatnonzero(
            (self.length >= WINDOW) & ~clips["emotion"].isin(leave_out).to_numpy()
        )
        self.groups = [usable[self.emotion[usable] == k] for k in np.unique(self.emotion[usable])]
        if len(self.groups) < (1 if targets else 2):
            raise InputError(
                f"{store.path}: {len(self.groups)} emotions in clips of {WINDOW} frames or more; the game needs two or more"
            )

    def __call__(self, random: np.random.Generator) -> dict:
        """-> frames (B, 5, 3, 64, 64), boxes (B, 4), emotion, target (B,) int64, intensity, target_intensity (B,).

        reference (B,): which window of the batch shows the target; it is another clip, saying something else. audio (B, 5, A).
        """
        first = random.integers(len(self.groups))
        groups = [self.groups[(first + k) % len(self.groups)] for k in range(self.batch)]
        clips = np.array([random.choice(group) for group in groups])
        starts = random.integers(0, self.length[clips] - WINDOW + 1)
        rows = windows(self.store, clips, starts, WINDOW)
        frames = working_view(images(self.store, rows.ravel())).unflatten(0, rows.shape)
        boxes = torch.from_numpy(self.boxes[clips])
        if self.mirror:
            turned = torch.from_numpy(random.random(len(clips)) < 0.5)
            frames = torch.where(turned[:, None, None, None, None], frames.flip(-1), frames)
            left, top, right, bottom = boxes.unbind(1)
            boxes = torch.where(
                turned[:, None], torch.stack([1 - right, top, 1 - left, bottom], 1), boxes
            )
        reference = np.roll(np.arange(len(clips)), random.integers(1, len(clips)))
        other = clips[reference]
        target, level = self.emotion[other], self.level[other]
        if len(self.targets):
            target, level = (
                random.choice(self.targets, len(clips)),
                random.integers(1, 4, len(clips)),
            )
        return {
            "frames": frames,
            "boxes": boxes,
            "emotion": torch.from_numpy(self.emotion[clips]),
            "target": torch.from_numpy(target),
            "intensity": _strength(self.emotion[clips], self.level[clips], random),
            "target_intensity": _strength(target, level, random),
            "reference": torch.from_numpy(reference),
            **(
                {}
                if self.audio is None
                else {"audio": torch.from_numpy(np.asarray(self.audio[rows], np.float32))}
            ),
        }


def _strength(emotion: np.ndarray, level: np.ndarray, random: np.random.Generator) -> torch.Tensor:
    """Levels 1, 2, 3 -> 1/3, 2/3, 1. Neutral has one level only, which stands for any strength."""
    level = np.where(
        emotion == emotion_index("neutral"), random.integers(1, 4, len(emotion)), level
    )
    return torch.from_numpy(level / 3).float()


class ImageObjective(nn.Module):
    """The terms of SPFEM on one batch; generator and discriminator are trained together, by one optimiser.

    Each plays on its own copy of the graph: the discriminator judges edits without a gradient to the generator, and is
    held still while the generator answers, so the sum of both losses is one number to minimise and a run resumes exactly.

    Terms, each one value per sample:
        discriminator, adversarial: hinge loss of the game (arXiv:1802.05957); besides edits, the discriminator refuses
        real windows under another emotion's name (arXiv:1605.05396). cycle: L1 of the middle frame after the edit back to
        the source's own emotion and level. reconstruction: L1 after an edit to what it already is.
        bending, stretching, shading, residual, steady: size of the fields (`cdrl.losses.fields`).
        content, emotion: CDRL guidance; a term of weight 0 is measured without a gradient.
    """

    def __init__(
        self,
        generator: ImageEditor,
        discriminator: Discriminator | None,
        weights: dict,
        guidance: Guidance | ReleasedGuidance | None = None,
    ):
        super().__init__()
        self.generator, self.discriminator, self.weights = generator, discriminator, weights
        # Frozen: no part of the checkpoint.
        self.__dict__["guidance"] = guidance
        self.__dict__["vision"] = VisionPrior() if discriminator is not None else None

    def forward(self, batch: dict) -> dict:
        """Batch of `WindowSampler` -> {name: (B,) values}."""
        source, generator = batch["frames"], self.generator
        own, wanted = (
            F.one_hot(batch[name], len(EMOTIONS)).float() for name in ("emotion", "target")
        )
        edit = generator(source, wanted, batch["target_intensity"])
        back = generator(edit.frames, own, batch["intensity"], MIDDLE)
        same = generator(source, own, batch["intensity"], MIDDLE)
        return {
            **self._answer(source, edit.frames, batch),
            "cycle": _distance(back.frames, source[:, MIDDLE]),
            "reconstruction": _distance(same.frames, source[:, MIDDLE]),
            "bending": bending(edit.flow),
            "stretching": stretching(edit.flow),
            "asymmetry": asymmetry(edit.flow),
            "shading": edit.shading.square().flatten(1).mean(1) * 100,
            "residual": edit.residual.abs().flatten(1).mean(1),
            "temporal_smoothness": acceleration(edit.flow) + acceleration(edit.residual),
        }

    def _answer(self, source: torch.Tensor, output: torch.Tensor, batch: dict) -> dict:
        """What tells the generator which edit is wanted."""
        return self._adversarial_terms(source, output, batch) | self._guided(source, output, batch)

    def _adversarial_terms(self, source: torch.Tensor, output: torch.Tensor, batch: dict) -> dict:
        if self.discriminator is None:
            return {}
        wanted = batch["target"], batch["target_intensity"]
        with torch.no_grad():
            seen = self._features(source, batch["boxes"])
        heads, shown = self.discriminator(seen), self._features(output, batch["boxes"])
        real, other = (
            conditional_logit(heads, batch["emotion"], batch["intensity"]),
            conditional_logit(heads, *wanted),
        )
        fake = conditional_logit(self.discriminator(shown.detach()), *wanted)
        with held(self.discriminator):
            answer = conditional_logit(self.discriminator(shown), *wanted)
        differs = (batch["emotion"] != batch["target"]).float()
        fooled = differs * F.relu(1 + other) + F.relu(1 + fake)
        return {"discriminator": F.relu(1 - real) + fooled / 2, "adversarial": -answer}

    def _features(self, frames: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
        """(B, 5, 3, 64, 64), (B, 4) -> (B, 3, 384): what the frozen backbones see in three frames, jittered."""
        chosen = jitter_frames(frames[:, FRAMES])
        features = self.vision(chosen.flatten(0, 1), boxes.repeat_interleave(len(FRAMES), 0))
        return torch.cat(features, 1).unflatten(0, chosen.shape[:2])

    def _guided(self, source: torch.Tensor, output: torch.Tensor, batch: dict) -> dict:
        if self.guidance is None:
            return {}
        guidance, shown = self.guidance, output[:, FRAMES]
        with torch.set_grad_enabled(self.weights.get("content", 0) > 0):
            released = isinstance(guidance, ReleasedGuidance)
            if released:
                content = guidance.content(source, output, audio_features=batch["audio"])
            else:
                content = guidance.content(source, output, boxes=batch["boxes"])
        with torch.set_grad_enabled(self.weights.get("emotion", 0) > 0):
            if released:
                reference = source[batch["reference"]][:, FRAMES]
                emotion = guidance.emotion(
                    shown, reference=reference, label_indices=batch["target"]
                )
            else:
                targets = emotion_targets(guidance, batch["target"], batch["target_intensity"])
                emotion = guidance.emotion(shown, embedding=targets, boxes=batch["boxes"])
        return {"content": content, "emotion": emotion}


def emotion_targets(
    guidance: Guidance, labels: torch.Tensor, intensity: torch.Tensor
) -> torch.Tensor:
    """(B,) labels and strengths -> (B, D): the guidance's embedding of each."""
    targets = []
    for index, strength in zip(labels.tolist(), intensity.tolist(), strict=True):
        label = EMOTIONS[index]
        level = 1 / 3 if label == "neutral" else strength
        targets.append(guidance.target(labels=label, intensity=level))
    return torch.cat(targets)


@contextmanager
def held(module: nn.Module):
    """Gradients pass through `module`, not into its parameters, for what is computed inside."""
    module.requires_grad_(False)
    try:
        yield
    finally:
        module.requires_grad_(True)


def _distance(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(B,) mean absolute difference, grey levels in [0, 1]."""
    return (a - b).abs().flatten(1).mean(1)


def train_image_editor(
    store: Store,
    guidance: Guidance | ReleasedGuidance | None,
    config: GeneratorConfig,
    variant: str,
    out: Path,
    start: str | None = "generator_start",
    audio: np.ndarray | None = None,
) -> tuple[ImageEditor, pd.DataFrame]:
    """Train one variant and write `model.safetensors`, `model.json`, `history.parquet` under `out`.

    Args:
        store: training people. guidance: None only where neither of its terms has a weight; they are not measured then.
        variant: name in `VARIANTS`. start: weights that both nets begin with; None begins from nothing.
        audio: (N, A) of the store's frames, for the variant `released`.

    Returns:
        The generator in eval mode, and the history of every term.

    Raises:
        InputError: unknown variant, or guidance that is missing.
    """
    weights = loss_weights(variant, config)
    if guidance is None:
        if weights["content"] or weights["emotion"]:
            raise InputError(
                f"variant {variant!r} needs guidance: run notebooks 02 and 03 (or `cdrl run`) first"
            )
        weights = {name: value for name, value in weights.items() if name not in GUIDED}
    objective = ImageObjective(*starting_nets(start, config.seed), weights, guidance)
    loop = LoopConfig(
        steps=config.steps,
        learning_rate=config.learning_rate,
        seed=config.seed,
        weights=weights,
        device=config.device,
    )
    history = train(
        objective,
        objective,
        WindowSampler(store, config.batch, audio=audio),
        loop,
        Path(out) / "training",
        f"SPFEM {variant}",
    )
    card = {
        "model": {},
        "emotions": emotions_of(store),
        "variant": variant,
        "weights": weights,
        "start": start,
        "steps": config.steps,
    }
    return save_encoder(objective.generator, card, history, out), history


def emotions_of(store: Store) -> list[str]:
    """The emotions that a generator trained on `store` can be asked for."""
    return sorted(set(store.clips["emotion"]))


def starting_nets(start: str | None, seed: int = 0) -> tuple[ImageEditor, Discriminator]:
    """ImageEditor and discriminator to train on: new ones, or the weights called `start` and the discriminator its card names."""
    torch.manual_seed(seed)
    generator, discriminator = ImageEditor(), Discriminator()
    if start is not None:
        card = load_card(start)
        load_weights(start, generator)
        if "discriminator" in card:
            load_weights(card["discriminator"], discriminator)
    return generator.requires_grad_(True), discriminator.requires_grad_(True)


def train_start(corpus: Store, out: Path, work: Path, steps: int = 1200, batch: int = 6) -> dict:
    """Make the committed start: the baseline's objective (no guidance, no truth), from nothing, for longer.

    Args:
        corpus: training people. out: folder of the weights, `generator_start` and its discriminator. work: folder of the
            checkpoint.

    Returns:
        The card; its scores are the last values of the terms, on the training people.
    """
    weights = {
        name: value for name, value in (VARIANTS["baseline"] | START).items() if name not in GUIDED
    }
    objective = ImageObjective(*starting_nets(None), weights)
    loop = LoopConfig(steps=steps, learning_rate=2e-3, weights=weights)
    history = train(
        objective, objective, WindowSampler(corpus, batch), loop, work, "generator start"
    )
    card = {
        "model": {},
        "emotions": emotions_of(corpus),
        "command": "cdrl train generator_start",
        "licence": "Apache-2.0",
        "discriminator": "generator_start_discriminator",
        "trained_on": f"{corpus.clips.speaker.nunique()} people, {len(corpus.clips)} clips, {steps} steps of {batch} windows",
        "truth": "none: crops, emotion and level of unpaired clips; no true edit, no guidance",
        "scores": history.tail(10).mean().drop("step").round(4).to_dict(),
    }
    save_weights(
        Path(out) / "generator_start_discriminator.safetensors", objective.discriminator, card
    )
    save_weights(Path(out) / "generator_start.safetensors", objective.generator, card)
    return card


def fit_person(
    generator: ImageEditor,
    store: Store,
    guidance: Guidance,
    targets: tuple,
    leave_out: tuple = (),
    steps: int = 120,
    batch: int = 6,
    learning_rate: float = 3e-4,
    seed: int = 0,
) -> tuple[ImageEditor, pd.DataFrame]:
    """Fine-tune a copy of the generator on one person's clips: a minute or two on a CPU.

    The stage that NED trains per actor. No game (a handful of clips would be learnt by heart): reconstruction, cycle, fields,
    guidance.

    Args:
        store: that person's clips. targets: emotions that will be asked for. leave_out: emotions of which no clip is used;
            leave out the target where its clip is to be the test.

    Returns:
        The copy, frozen, in eval mode; and the history of every term.
    """
    copy = deepcopy(generator).requires_grad_(True)
    weights = {
        name: value
        for name, value in VARIANTS["cdrl"].items()
        if name not in ("discriminator", "adversarial")
    }
    objective = ImageObjective(copy, None, weights, guidance)
    loop = LoopConfig(steps=steps, learning_rate=learning_rate, seed=seed, weights=weights)
    sampler = WindowSampler(store, batch, targets=targets, leave_out=leave_out)
    history = train(objective, objective, sampler, loop, None, "fit to the person")
    return copy.eval().requires_grad_(False), history
