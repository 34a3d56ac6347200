"""CDRL guidance for hosts without pixels: two students on tracked facial actions learn what the frozen pixel encoders say.

Training people only. A student sees the actions of the frames whose picture its teacher saw; its fit on other people, beside
that of a student of shuffled lessons, says how much of the teacher the actions carry.
"""

from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cdrl.core.checkpoint import save_network
from cdrl.core.errors import InputError
from cdrl.core.settings import ActionsConfig
from cdrl.corpora.batches import window_rows
from cdrl.models.action_editor import REACH, ContentStudent, EmotionStudent
from cdrl.priors.actions import TrackedActions
from cdrl.priors.features import Features
from cdrl.representation.content import embed_content
from cdrl.representation.guidance import Guidance, label_targets
from cdrl.training.loop import LoopConfig, train

BATCH = 64
SHORTEST, LONGEST = 9, 32  # frames of a lesson


class ActionGuidance(nn.Module):
    """CDRL as supervision on facial actions: `content(source, output)`, `emotion(wanted, output)`; differentiable to them.

    Args:
        mean, deviation: (52,) units of the actions. content, emotion: lengths of the two embeddings.
        prototypes: (8, 3, D) emotion embeddings by label and level, the pixel guidance's own.
    """

    def __init__(
        self, mean: torch.Tensor, deviation: torch.Tensor, prototypes: torch.Tensor, content: int
    ):
        super().__init__()
        self.content_student = ContentStudent(mean, deviation, content)
        self.emotion_student = EmotionStudent(mean, deviation, prototypes.shape[-1])
        self.register_buffer("prototypes", prototypes)

    def target(self, *, labels: str, intensity: float = 1.0) -> torch.Tensor:
        """(1, D) the embedding that a label asks for at an intensity from 1/3 to 1: read from the prototypes, as for pixels."""
        return label_targets(self.prototypes, [labels], intensity)

    def content(self, source: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """1 - cos(content(source), content(output)), mean over windows.

        Args:
            source, output: (B, T >= 9, 52).

        Returns:
            (B,) in [0, 2]; 0 where output is the source.
        """
        with torch.no_grad():
            wanted = self.content_student(source)
        return 1 - (wanted * self.content_student(output)).sum(-1).mean(1)

    def emotion(self, output: torch.Tensor, *, embedding: torch.Tensor) -> torch.Tensor:
        """1 - cos(emotion(target), emotion(output)).

        Args:
            output: (B, T, 52).
            embedding: (B, D) of `target` or of a reference.

        Returns:
            (B,) in [0, 2].
        """
        return 1 - (self.emotion_student(output) * embedding).sum(-1)


class DistillationSampler:
    """Windows of tracked actions with what the pixel encoders say of the same frames.

    Args:
        features, tracked: of one store. guidance: the teacher. shuffled: every window with the answers of another one.
    """

    def __init__(
        self, features: Features, tracked: TrackedActions, guidance: Guidance, shuffled: bool = False
    ):
        if len(features.face) != len(tracked.coefficients):
            raise InputError(
                f"{tracked.path}: {len(tracked.coefficients)} tracked frames, {len(features.face)} of features; track the store again"
            )
        self.features, self.tracked, self.guidance, self.shuffled = (
            features,
            tracked,
            guidance,
            shuffled,
        )
        self.length = tracked.clips["num_frames"].to_numpy()

    @cached_property
    def content(self) -> np.ndarray:
        """(N, D): what the content encoder says of every frame, computed when the first lesson is given."""
        return embed_content(self.guidance.content_encoder, self.features)

    def __call__(self, random: np.random.Generator) -> dict:
        """-> coefficients (B, T, 52), content (B, T - 8, D), emotion (B, D)."""
        window = int(random.integers(SHORTEST, LONGEST + 1))
        clips = random.choice(np.flatnonzero(self.length >= window), BATCH)
        rows = window_rows(
            self.features.store, clips, random.integers(0, self.length[clips] - window + 1), window
        )
        seen = np.concatenate([self.features.language[rows], self.features.mouth[rows]], -1).astype(
            np.float32
        )
        with torch.no_grad():
            emotion = self.guidance.emotion_encoder(torch.from_numpy(seen))
        content = torch.from_numpy(self.content[rows[:, REACH:-REACH]])
        if self.shuffled:
            order = torch.from_numpy(random.permutation(BATCH))
            content, emotion = content[order], emotion[order]
        return {
            "coefficients": torch.from_numpy(self.tracked.coefficients[rows]),
            "content": content,
            "emotion": emotion,
        }


def feature_stats(coefficients: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and deviation (52,) of actions (N, 52); .02 is added so that one which never moves is no unit of nothing."""
    return torch.from_numpy(coefficients.mean(0)), torch.from_numpy(coefficients.std(0) + 0.02)


def distil(
    features: Features,
    tracked: TrackedActions,
    guidance: Guidance,
    config: ActionsConfig,
    out: Path,
    shuffled: bool = False,
) -> ActionGuidance:
    """Train the two students and write them under `out`; resumes.

    Args:
        features, tracked: of the training people. guidance: the frozen pixel encoders. shuffled: the control.

    Returns:
        Frozen guidance on actions. Loss: 1 - cosine of each student with its teacher.

    Raises:
        InputError: tracked actions of other clips than the features'.
    """
    torch.manual_seed(config.seed)
    lessons = DistillationSampler(features, tracked, guidance, shuffled)
    student = ActionGuidance(
        *feature_stats(tracked.coefficients),
        guidance.prototypes.clone(),
        guidance.content_encoder.head[-1].out_features,
    )

    def objective(batch):
        content = 1 - (student.content_student(batch["coefficients"]) * batch["content"]).sum(
            -1
        ).mean(1)
        return {
            "content": content,
            "emotion": student.emotion(batch["coefficients"], embedding=batch["emotion"]),
        }

    loop = LoopConfig(
        steps=config.distil_steps,
        learning_rate=2e-3,
        seed=config.seed,
        weights={"content": 1.0, "emotion": 1.0},
    )
    history = train(student, objective, lessons, loop, Path(out) / "training", "distilled guidance")
    card = {
        "steps": config.distil_steps,
        "shuffled": shuffled,
        "people": int(tracked.clips.speaker.nunique()),
    }
    return save_network(out, student, card, history)


@torch.no_grad()
def fit_scores(
    student: ActionGuidance,
    features: Features,
    tracked: TrackedActions,
    guidance: Guidance,
    batches: int = 16,
) -> dict:
    """How well the students agree with their teachers on people that neither met.

    Returns:
        content, emotion: mean cosine; content.chance, emotion.chance: with the answers to another window of the batch; n windows.
    """
    lessons, random, rows = (
        DistillationSampler(features, tracked, guidance),
        np.random.default_rng(3),
        [],
    )
    for _ in range(batches):
        batch = lessons(random)
        said = {
            "content": student.content_student(batch["coefficients"]),
            "emotion": student.emotion_student(batch["coefficients"]),
        }
        right = {name: (value * batch[name]).sum(-1).mean() for name, value in said.items()}
        wrong = {
            f"{name}.chance": (value * batch[name].roll(1, 0)).sum(-1).mean()
            for name, value in said.items()
        }
        rows.append({name: float(value) for name, value in (right | wrong).items()})
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]} | {
        "n": batches * BATCH
    }
