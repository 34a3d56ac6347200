"""Distilled guidance on facial actions, for editors without pixels.

Two students on tracked facial actions learn the embeddings of the frozen pixel encoders, on the
training people only. A student sees the actions of the frames whose pixels its teacher saw. Its fit
on other people, beside that of a student trained on shuffled targets, tells how much of the teacher
the actions carry.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cdrl.core.checkpoint import load_tensors, save_network
from cdrl.core.errors import InputError
from cdrl.core.settings import ActionsConfig
from cdrl.core.vocabulary import ACTIONS
from cdrl.core.weight_files import fill
from cdrl.corpora.batches import window_rows
from cdrl.models.action_networks import REACH, ContentStudent, EmotionStudent
from cdrl.priors.actions import TrackedActions
from cdrl.priors.features import Features
from cdrl.representation.ccrl import embed_content
from cdrl.representation.guidance import Guidance, label_targets
from cdrl.training.loop import LoopConfig, train

BATCH = 64
MIN_WINDOW = 9  # frames
MAX_WINDOW = 32  # frames
LEARNING_RATE = 2e-3
CONTRAST_TEMPERATURE = 0.1  # of the content term that contrasts moments
STD_FLOOR = 0.02  # added to the std of every action, so that none is divided by zero

Batch = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Teachers:
    """What two students learn, of one or two teachers; see `teachers_of` for those of CDRL.

    Attributes:
        embed_content: features of clips -> (N, D) embeddings of all frames, unit norm.
        embed_emotion: (B, T, L + M) features of windows -> (B, E) embeddings, unit norm.
        prototypes: (8, 3, E) emotion embeddings by label and level.
        content_size: D.
    """

    embed_content: Callable[[Features], np.ndarray]
    embed_emotion: Callable[[torch.Tensor], torch.Tensor]
    prototypes: torch.Tensor
    content_size: int


def teachers_of(guidance: Guidance) -> Teachers:
    """The frozen encoders of CDRL as teachers.

    Args:
        guidance: has them.
    """
    encoder = guidance.content_encoder
    return Teachers(
        embed_content=partial(embed_content, encoder),
        embed_emotion=guidance.emotion_encoder,
        prototypes=guidance.prototypes,
        content_size=encoder.config["embedding"],
    )


class ActionGuidance(nn.Module):
    """CDRL as supervision on facial actions, differentiable to the actions of the output.

    Args:
        mean: (52,) of the training people's actions.
        std: (52,) of the training people's actions.
        prototypes: (8, 3, D) emotion embeddings by label and level, of the pixel guidance.
        content_size: length of the content embedding.
    """

    prototypes: torch.Tensor

    def __init__(
        self, mean: torch.Tensor, std: torch.Tensor, prototypes: torch.Tensor, content_size: int
    ):
        super().__init__()
        self.content_student = ContentStudent(mean, std, content_size)
        self.emotion_student = EmotionStudent(mean, std, prototypes.shape[-1])
        self.register_buffer("prototypes", prototypes)

    def target(self, *, labels: str, intensity: float = 1.0) -> torch.Tensor:
        """The emotion embedding of a label, of the prototypes as for pixels.

        Args:
            labels: an emotion.
            intensity: 1/3 to 1.

        Returns:
            (1, D), unit norm.
        """
        return label_targets(self.prototypes, [labels], intensity)

    def content(self, source: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """The content loss, mean over windows.

        1 - cos(content(source), content(output)).

        Args:
            source: (B, T >= 9, 52) actions.
            output: (B, T, 52) actions.

        Returns:
            (B,) in [0, 2]; 0 where output is the source.
        """
        with torch.no_grad():
            source_embedding = self.content_student(source)
        output_embedding = self.content_student(output)

        cosine = (source_embedding * output_embedding).sum(-1)
        return 1 - cosine.mean(1)

    def content_contrast(self, source: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        """The content loss against other moments of the source (InfoNCE), mean over moments.

        -log of the share that the source's content at the same moment has of exp(cos /
        `CONTRAST_TEMPERATURE`), summed over all its moments. 1 - cos is small already where the
        output resembles the source at any moment; this asks for the same moment.

        Args:
            source: (B, T >= 9, 52) actions.
            output: (B, T, 52) actions.

        Returns:
            (B,) >= 0; ln(T - 8) where no moment is known from another.
        """
        with torch.no_grad():
            source_embedding = self.content_student(source)
        output_embedding = self.content_student(output)

        cosines = output_embedding @ source_embedding.transpose(1, 2)
        log_shares = (cosines / CONTRAST_TEMPERATURE).log_softmax(-1)
        of_same_moment = log_shares.diagonal(dim1=1, dim2=2)
        return -of_same_moment.mean(1)

    def emotion(self, output: torch.Tensor, *, embedding: torch.Tensor) -> torch.Tensor:
        """The emotion loss.

        1 - cos(emotion(target), emotion(output)).

        Args:
            output: (B, T, 52) actions.
            embedding: (B, D) of `target`, or of a reference.

        Returns:
            (B,) in [0, 2].
        """
        cosine = (self.emotion_student(output) * embedding).sum(-1)
        return 1 - cosine


class DistillationSampler:
    """Draws windows of tracked actions with the embeddings of the pixel encoders as targets.

    Args:
        features: of the clips.
        tracked: actions of the same clips.
        guidance: CDRL, or other teachers.
        shuffled: control; every window has the targets of another one.

    Raises:
        InputError: tracked actions of other clips than the features'.
    """

    def __init__(
        self,
        features: Features,
        tracked: TrackedActions,
        guidance: Guidance | Teachers,
        shuffled: bool = False,
    ):
        if len(features.face) != len(tracked.coefficients):
            raise InputError(
                f"{tracked.path}: {len(tracked.coefficients)} tracked frames, "
                f"{len(features.face)} of features; track the store again"
            )
        self.features = features
        self.tracked = tracked
        self.teachers = teachers_of(guidance) if isinstance(guidance, Guidance) else guidance
        self.shuffled = shuffled
        self.lengths = tracked.clips["num_frames"].to_numpy()

    @cached_property
    def content(self) -> np.ndarray:
        """(N, D) content embeddings of all frames, computed when the first batch is drawn."""
        return self.teachers.embed_content(self.features)

    def __call__(self, random: np.random.Generator) -> Batch:
        """Draw a batch of windows of one length T.

        Args:
            random: source of the random numbers.

        Returns:
            coefficients: (B, T, 52) actions.
            content: (B, T - 8, D) embeddings.
            emotion: (B, D) embeddings.
        """
        rows = self._draw_rows(random)
        emotion = self._embed_emotion(rows)
        middle_rows = rows[:, REACH:-REACH]
        content = torch.from_numpy(self.content[middle_rows])

        if self.shuffled:
            order = torch.from_numpy(random.permutation(BATCH))
            content = content[order]
            emotion = emotion[order]

        coefficients = torch.from_numpy(self.tracked.coefficients[rows])
        return {"coefficients": coefficients, "content": content, "emotion": emotion}

    def _draw_rows(self, random: np.random.Generator) -> np.ndarray:
        """(B, T) frame rows of windows; a clip that is too short for them is left out."""
        window = int(random.integers(MIN_WINDOW, MAX_WINDOW + 1))
        long_enough = np.flatnonzero(self.lengths >= window)
        clips = random.choice(long_enough, BATCH)

        spare = self.lengths[clips] - window
        starts = random.integers(0, spare + 1)
        return window_rows(self.features.store, clips, starts, window)

    @torch.no_grad()
    def _embed_emotion(self, rows: np.ndarray) -> torch.Tensor:
        """(B, T) frame rows -> (B, D) emotion embeddings."""
        language = self.features.language[rows]
        mouth = self.features.mouth[rows]
        joined = np.concatenate([language, mouth], -1)
        inputs = torch.from_numpy(joined.astype(np.float32))
        return self.teachers.embed_emotion(inputs)


def feature_stats(coefficients: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of actions.

    Args:
        coefficients: (N, 52) actions.

    Returns:
        Two (52,) tensors; .02 is added to the standard deviation, since some actions never move.
    """
    mean = torch.from_numpy(coefficients.mean(0))
    std = torch.from_numpy(coefficients.std(0) + STD_FLOOR)
    return mean, std


def distil(
    features: Features,
    tracked: TrackedActions,
    guidance: Guidance | Teachers,
    config: ActionsConfig,
    out: Path,
    shuffled: bool = False,
) -> ActionGuidance:
    """Train the two students and write them under `out`; resumes.

    The loss is 1 - cosine of each student with its teacher.

    Args:
        features: of the training people.
        tracked: of the same clips.
        guidance: the frozen pixel encoders, or other teachers.
        config: steps and seed.
        out: folder.
        shuffled: the control, see `DistillationSampler`.

    Returns:
        Frozen guidance on actions.

    Raises:
        InputError: tracked actions of other clips than the features'.
    """
    torch.manual_seed(config.seed)
    sampler = DistillationSampler(features, tracked, guidance, shuffled)
    mean, std = feature_stats(tracked.coefficients)
    teachers = sampler.teachers
    student = ActionGuidance(mean, std, teachers.prototypes.clone(), teachers.content_size)

    def objective(batch: Batch) -> Batch:
        coefficients = batch["coefficients"]
        content_embedding = student.content_student(coefficients)
        cosine = (content_embedding * batch["content"]).sum(-1)
        content = 1 - cosine.mean(1)

        emotion = student.emotion(coefficients, embedding=batch["emotion"])
        return {"content": content, "emotion": emotion}

    loop = LoopConfig(
        steps=config.distil_steps,
        learning_rate=LEARNING_RATE,
        seed=config.seed,
        weights={"content": 1.0, "emotion": 1.0},
        device=config.device,
        precision=config.precision,
        tracker=config.tracker,
    )
    history = train(student, objective, sampler, loop, Path(out) / "training", "distilled guidance")
    card = {
        "steps": config.distil_steps,
        "shuffled": shuffled,
        "people": int(tracked.clips.speaker.nunique()),
    }
    return save_network(out, student, card, history)


def load_students(folder: Path) -> ActionGuidance:
    """Load what `distil` wrote to `folder`, frozen, in eval mode."""
    path = Path(folder) / "model.safetensors"
    state = load_tensors(path, ("prototypes", "content_student.net.4.weight"))
    mean = torch.zeros(len(ACTIONS))
    std = torch.zeros(len(ACTIONS))

    prototypes = torch.zeros_like(state["prototypes"])
    content_size = state["content_student.net.4.weight"].shape[0]
    students = ActionGuidance(mean, std, prototypes, content_size)
    fill(students, state, path)

    return students.eval().requires_grad_(False)


@torch.no_grad()
def fit_scores(
    student: ActionGuidance,
    features: Features,
    tracked: TrackedActions,
    guidance: Guidance | Teachers,
    batches: int = 16,
) -> dict[str, float]:
    """How well the students agree with their teachers on people that neither was trained on.

    Args:
        student: trained.
        features: of the other people.
        tracked: of the same clips.
        guidance: the teacher.
        batches: how many to average over.

    Returns:
        content, emotion: mean cosine; content.chance, emotion.chance: with the targets of another
        window of the batch; n windows.
    """
    sampler = DistillationSampler(features, tracked, guidance)
    random = np.random.default_rng(3)
    rows = []
    for _ in range(batches):
        batch = sampler(random)
        rows.append(_agreement(student, batch))

    scores = {}
    for name in rows[0]:
        values = [row[name] for row in rows]
        scores[name] = float(np.mean(values))
    scores["n"] = batches * BATCH
    return scores


def _agreement(student: ActionGuidance, batch: Batch) -> dict[str, float]:
    """Mean cosines of one batch, with the targets and, for chance, with those of another window."""
    embeddings = {
        "content": student.content_student(batch["coefficients"]),
        "emotion": student.emotion_student(batch["coefficients"]),
    }
    agreement = {}
    chance = {}
    for name, embedding in embeddings.items():
        target = batch[name]
        cosine = (embedding * target).sum(-1)
        agreement[name] = float(cosine.mean())

        other_target = target.roll(1, 0)
        cosine = (embedding * other_target).sum(-1)
        chance[f"{name}.chance"] = float(cosine.mean())

    return agreement | chance
