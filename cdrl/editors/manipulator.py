"""SPFEM on facial actions: train the coefficient host on unpaired windows; with CDRL guidance and, term for term, without."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.errors import InputError
from cdrl.core.settings import ActionsConfig
from cdrl.core.vocabulary import ACTIONS, emotion_index
from cdrl.corpora.batches import windows
from cdrl.editors.image import emotion_targets, held
from cdrl.models.action_editor import REACH, ActionDiscriminator, ActionManipulator
from cdrl.models.discriminator import conditional_logit
from cdrl.priors.actions import TrackedActions
from cdrl.representation.content import save_encoder
from cdrl.representation.distillation import ActionGuidance, feature_stats
from cdrl.training.loop import LoopConfig, train

JAW = ACTIONS.index("jawOpen")
# What every variant shares: the terms of NED's manipulator (arXiv:2112.00585), and the size of the motion added.
SHARED = {
    "discriminator": 1.0,
    "adversarial": 0.3,
    "cycle": 1.0,
    "reconstruction": 1.0,
    "style": 0.2,
    "speech": 1.0,
    "temporal_smoothness": 1.0,
}
GUIDED = ("content", "emotion")
VARIANTS = {
    "baseline": SHARED | {"content": 0.0, "emotion": 0.0},
    "content": SHARED | {"content": 2.0, "emotion": 0.0},
    "emotion": SHARED | {"content": 0.0, "emotion": 2.0},
    "cdrl": SHARED | {"content": 2.0, "emotion": 2.0},
    "paired": {"paired": 1.0, "style": 0.2, "temporal_smoothness": 0.0},
}


class ActionWindowSampler:
    """Draws windows of tracked actions, as many of every emotion, and for each another window of the batch to become like.

    Args:
        tracked: training people. batch: windows. window: frames.

    Raises:
        InputError: a window too short for the content student, or clips that are long enough show fewer than two emotions.
    """

    def __init__(self, tracked: TrackedActions, batch: int, window: int):
        if window < 2 * REACH + 1:
            raise InputError(
                f"window={window}: at least {2 * REACH + 1} frames are needed, content is read from so many"
            )
        clips = tracked.clips
        self.tracked, self.batch, self.window = tracked, batch, window
        self.emotion = clips["emotion"].map(emotion_index).to_numpy()
        self.level, self.length = clips["intensity"].to_numpy(), clips["num_frames"].to_numpy()
        usable = np.flatnonzero(self.length >= window)
        self.groups = [usable[self.emotion[usable] == k] for k in np.unique(self.emotion[usable])]
        if len(self.groups) < 2:
            raise InputError(
                f"{tracked.path}: {len(self.groups)} emotions in clips of {window} frames or more; the game needs two or more"
            )

    def __call__(self, random: np.random.Generator) -> dict:
        """-> source, reference (B, T, 52), emotion, target (B,) int64, intensity, target_intensity (B,)."""
        first = random.integers(len(self.groups))
        groups = [self.groups[(first + k) % len(self.groups)] for k in range(self.batch)]
        clips = np.array([random.choice(group) for group in groups])
        starts = random.integers(0, self.length[clips] - self.window + 1)
        source = torch.from_numpy(
            self.tracked.coefficients[windows(self.tracked, clips, starts, self.window)]
        )
        order = np.roll(np.arange(len(clips)), random.integers(1, len(clips)))
        emotion = torch.from_numpy(self.emotion[clips])
        neutral = self.emotion[clips] == emotion_index(
            "neutral"
        )  # one level, which stands for any strength
        strength = torch.from_numpy(
            np.where(neutral, random.integers(1, 4, len(clips)), self.level[clips]) / 3
        ).float()
        return {
            "source": source,
            "reference": source[order],
            "emotion": emotion,
            "target": emotion[order],
            "intensity": strength,
            "target_intensity": strength[order],
        }


class ActionObjective(nn.Module):
    """The terms of the unpaired host on one batch; host and discriminator are trained together, by one optimiser.

    Half of the batch is asked for a label, half for the style of the reference window.

    Terms, each one value per sample:
        discriminator, adversarial: hinge loss of the game, as the image host's. cycle, reconstruction: L1, in deviations, after
        the edit back, and after an edit to what it already is. style: L1 of the style read from the output to the style asked for.
        speech: 1 - Pearson r of the jaw's opening, output against source (NED's). steady: squared acceleration of the change.
        content, emotion: distilled CDRL guidance; a term of weight 0 is measured without a gradient.
    """

    def __init__(
        self,
        host: ActionManipulator,
        discriminator: ActionDiscriminator,
        weights: dict,
        guidance: ActionGuidance | None,
    ):
        super().__init__()
        self.host, self.discriminator, self.weights = host, discriminator, weights
        self.__dict__["guidance"] = guidance  # frozen: no part of the checkpoint

    def forward(self, batch: dict) -> dict:
        """Batch of `ActionWindowSampler` -> {name: (B,) values}."""
        source, host = batch["source"], self.host
        referred = torch.arange(len(source)) % 2 == 1
        style = torch.where(
            referred[:, None],
            host.style_encoder(batch["reference"]),
            host.label_style(batch["target"]),
        )
        own = torch.where(
            referred[:, None], host.style_encoder(source), host.label_style(batch["emotion"])
        )
        output = host(source, style, batch["target_intensity"])
        return {
            **self._adversarial_terms(source, output, batch),
            "cycle": self._distance(host(output, own, batch["intensity"]), source),
            "reconstruction": self._distance(host(source, own, batch["intensity"]), source),
            "style": (host.style_encoder(output) - style.detach()).abs().mean(1),
            "speech": 1 - correlation(output[..., JAW], source[..., JAW]),
            "temporal_smoothness": ((output - source) / host.std)
            .diff(n=2, dim=1)
            .square()
            .mean((1, 2)),
            **self._guided(source, output, batch, referred),
        }

    def _distance(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return ((a - b) / self.host.std).abs().mean((1, 2))

    def _adversarial_terms(self, source: torch.Tensor, output: torch.Tensor, batch: dict) -> dict:
        wanted, heads = (batch["target"], batch["target_intensity"]), self.discriminator(source)
        real, other = (
            conditional_logit(heads, batch["emotion"], batch["intensity"]),
            conditional_logit(heads, *wanted),
        )
        fake = conditional_logit(self.discriminator(output.detach()), *wanted)
        with held(self.discriminator):
            answer = conditional_logit(self.discriminator(output), *wanted)
        differs = (batch["emotion"] != batch["target"]).float()
        return {
            "discriminator": F.relu(1 - real)
            + (differs * F.relu(1 + other) + F.relu(1 + fake)) / 2,
            "adversarial": -answer,
        }

    def _guided(
        self, source: torch.Tensor, output: torch.Tensor, batch: dict, referred: torch.Tensor
    ) -> dict:
        if self.guidance is None:
            return {}
        with torch.no_grad():
            labels = emotion_targets(self.guidance, batch["target"], batch["target_intensity"])
            targets = torch.where(
                referred[:, None], self.guidance.emotion_student(batch["reference"]), labels
            )
        with torch.set_grad_enabled(self.weights.get("content", 0) > 0):
            content = self.guidance.content(source, output)
        with torch.set_grad_enabled(self.weights.get("emotion", 0) > 0):
            emotion = self.guidance.emotion(output, embedding=targets)
        return {"content": content, "emotion": emotion}


class PairedSampler:
    """Windows of true edits beside their sources: the upper bound's, which no real corpus has.

    Args:
        sources, truths: one (T, 52) array of tracked actions a true edit. emotion, level: (E,) label number and 1 to 3.
    """

    def __init__(
        self,
        sources: list,
        truths: list,
        emotion: np.ndarray,
        level: np.ndarray,
        batch: int,
        window: int,
    ):
        self.sources, self.truths, self.emotion, self.level = (
            sources,
            truths,
            np.asarray(emotion),
            np.asarray(level),
        )
        self.batch, self.window = batch, window
        self.usable = np.flatnonzero([len(source) >= window for source in sources])
        if not len(self.usable):
            raise InputError(
                f"paired: none of {len(sources)} true edits has {window} frames; make some of longer clips"
            )

    def __call__(self, random: np.random.Generator) -> dict:
        """-> source, truth (B, T, 52), target (B,), target_intensity (B,)."""
        chosen = random.choice(self.usable, self.batch)
        starts = [int(random.integers(len(self.sources[k]) - self.window + 1)) for k in chosen]
        cut = lambda clips: np.stack(
            [clips[k][s : s + self.window] for k, s in zip(chosen, starts, strict=True)]
        )  # noqa: E731
        return {
            "source": torch.from_numpy(cut(self.sources)),
            "truth": torch.from_numpy(cut(self.truths)),
            "target": torch.from_numpy(self.emotion[chosen]),
            "target_intensity": torch.from_numpy(self.level[chosen] / 3).float(),
        }


class PairedObjective(nn.Module):
    """L1, in deviations, to the tracked actions of the true edit; half of the batch is asked for the true edit's own style."""

    def __init__(self, host: ActionManipulator):
        super().__init__()
        self.host = host

    def forward(self, batch: dict) -> dict:
        """Batch of `PairedSampler` -> {name: (B,) values}."""
        host, source = self.host, batch["source"]
        label, read = host.label_style(batch["target"]), host.style_encoder(batch["truth"])
        output = host(source, label, batch["target_intensity"])
        return {
            "paired": ((output - batch["truth"]) / host.std).abs().mean((1, 2)),
            "style": (read - label.detach()).abs().mean(1),
            "temporal_smoothness": ((output - source) / host.std)
            .diff(n=2, dim=1)
            .square()
            .mean((1, 2)),
        }


def correlation(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """(B,) Pearson r over time of (B, T) curves; a curve that hardly moves (deviation far below .01) gives about 0."""
    a, b = a - a.mean(1, keepdim=True), b - b.mean(1, keepdim=True)
    return (a * b).mean(1) / ((a.square().mean(1) + 1e-5) * (b.square().mean(1) + 1e-5)).sqrt()


def variant_weights(variant: str, config: ActionsConfig) -> dict:
    """The weights of a variant, with the strengths that the configuration asks for.

    Raises:
        InputError: for a variant that is not in `VARIANTS`.
    """
    if variant not in VARIANTS:
        raise InputError(
            f"unknown variant {variant!r} of the coefficient host: accepted are {', '.join(VARIANTS)}"
        )
    strength = {"content": config.content_weight, "emotion": config.emotion_weight}
    return {name: value * strength.get(name, 1.0) for name, value in VARIANTS[variant].items()}


def train_action_manipulator(
    tracked: TrackedActions,
    guidance: ActionGuidance | None,
    config: ActionsConfig,
    variant: str,
    out: Path,
    pairs: tuple | None = None,
) -> tuple[ActionManipulator, pd.DataFrame]:
    """Train one variant and write `model.safetensors`, `model.json`, `history.parquet` under `out`; resumes.

    Args:
        tracked: training people. guidance: of `distil`; None where neither of its terms has a weight, they are not measured then.
        variant: name in `VARIANTS`. pairs: `paired` only: sources, true edits (lists of (T, 52)), label numbers (E,), levels (E,).

    Returns:
        The host, frozen, in eval mode, and the history of every term.

    Raises:
        InputError: unknown variant, guidance that is missing, true edits that are missing or given to an unpaired variant.
    """
    weights = variant_weights(variant, config)
    if (variant == "paired") != (pairs is not None):
        what = "needed" if variant == "paired" else "for `paired` alone, no other may see them"
        raise InputError(f"variant {variant!r}: true edits are {what}")
    if guidance is None:
        if weights.get("content") or weights.get("emotion"):
            raise InputError(f"variant {variant!r} needs guidance: distil it first")
        weights = {name: value for name, value in weights.items() if name not in GUIDED}
    torch.manual_seed(config.seed)
    mean, deviation = feature_stats(tracked.coefficients)
    host = ActionManipulator(mean, deviation)
    if variant == "paired":
        objective, sampler = (
            PairedObjective(host),
            PairedSampler(*pairs, config.batch, config.window),
        )
    else:
        objective = ActionObjective(host, ActionDiscriminator(mean, deviation), weights, guidance)
        sampler = ActionWindowSampler(tracked, config.batch, config.window)
    loop = LoopConfig(
        steps=config.steps, learning_rate=config.learning_rate, seed=config.seed, weights=weights
    )
    history = train(
        objective, objective, sampler, loop, Path(out) / "training", f"coefficient host, {variant}"
    )
    card = {
        "model": {},
        "variant": variant,
        "weights": weights,
        "steps": config.steps,
        "people": int(tracked.clips.speaker.nunique()),
    }
    return save_encoder(host, card, history, out), history
