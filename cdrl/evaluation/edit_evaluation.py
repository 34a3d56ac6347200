"""Edits evaluated by networks that supervised nothing, on the studio's corpora and on real ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from tqdm.auto import tqdm

from cdrl.core.settings import EvaluateConfig
from cdrl.evaluation.edit_metrics import (
    ARCFACE,
    BILABIALS,
    EFFICIENT_FACE,
    LIP_SYNC_SCORES,
    METRICS,
    OTHER_CLIPS,
    PROTOCOL,
    SWEEP_SCORES,
    SYNCNET,
    TABLE_SCORES,
    TRUE_EDITS,
    EditReadings,
    accuracy_of_readings,
    closure_of_readings,
    compute_statistics,
    left_out_notes,
    restore_statistics,
)
from cdrl.evaluation.edit_scores import (
    estimate_emotion_accuracy,
    estimate_per_emotion,
    mouth_l1,
    psnr,
)
from cdrl.evaluation.edit_tasks import Edits, TrueEdits
from cdrl.evaluation.estimate import Estimate, ScoreStatistics
from cdrl.evaluation.judges import Judges
from cdrl.evaluation.lip_sync import load_syncnet, lse_of_clip
from cdrl.evaluation.readings import ClipReading, References, read_clip, read_references
from cdrl.evaluation.set_scores import (
    SET_METRICS,
    FeatureExtractor,
    FrameSets,
    SetMetric,
    score_sets,
)
from cdrl.models.syncnet import SyncNet

# Number of an edit -> its crops, (T, S, S, 3) uint8.
Outputs = Callable[[int], np.ndarray]
# Number of an edit, intensity scale -> its crops, (T, S, S, 3) uint8.
ScaledOutputs = Callable[[int, float], np.ndarray]


@dataclass(frozen=True)
class EditEvaluation:
    """The evaluation of several variants of the same edits.

    Attributes:
        estimates: `PREFIX.VARIANT.SCORE` and the scores of each emotion.
        statistics: variant -> score -> its statistics (E, M), for paired comparisons.
        references: what the edits were compared with.
        notes: which scores were left out, and why.
    """

    estimates: dict[str, Estimate]
    statistics: dict[str, dict[str, np.ndarray]]
    references: References
    notes: list[str]


@dataclass(frozen=True)
class ReadEdits:
    """What was read in one variant of all edits, before it is compared with anything.

    Attributes:
        readings: of each edit.
        clip_values: name of a score that is computed from frames -> its value for each edit.
    """

    readings: list[ClipReading]
    clip_values: dict[str, list[float]]

    def followed_by(self, others: "ReadEdits") -> "ReadEdits":
        """These edits and then others of the same variant, of which the same was read."""
        clip_values = dict(self.clip_values)
        for name, values in others.clip_values.items():
            clip_values[name] = clip_values.get(name, []) + values
        return ReadEdits(self.readings + others.readings, clip_values)


def evaluate_edits(
    edits: Edits,
    outputs: Mapping[str, Outputs],
    judges: Judges,
    config: EvaluateConfig,
    prefix: str = "spfem.image",
    references: References | None = None,
    known: Mapping[str, ReadEdits] = MappingProxyType({}),
) -> EditEvaluation:
    """Evaluate variants of the same edits: every score whose needs are met, with its interval.

    Args:
        edits: what was requested, with true edits or without.
        outputs: variant -> its edited crops.
        judges: the kit's evaluation networks.
        config: the seed, and files of published networks, where a user has them.
        prefix: of the printed names.
        references: where they were read before.
        known: variants that were read before.
    """
    if references is None:
        references = read_references(edits, judges, config.seed)
    available = available_needs(edits, references, config)

    names = [metric.name for metric in METRICS if metric.needs <= available]
    set_metrics = [metric for metric in SET_METRICS if metric.needs <= available]

    notes = left_out_notes([*METRICS, *SET_METRICS], available)
    syncnet = load_syncnet(config.syncnet) if config.syncnet else None
    set_scores = _SetScores(edits, judges, set_metrics, config)

    estimates = {}
    statistics = {}
    for variant, output in outputs.items():
        name = f"{prefix}.{variant}"
        read = known.get(variant)
        if read is None:
            read = read_edits(output, edits, judges, variant, names, syncnet)
        rows = statistics_from_readings(read.readings, edits, references, names, read.clip_values)
        statistics[variant] = rows

        clip_estimates = estimate_variant(name, rows, references, edits)
        set_estimates, set_notes = set_scores.score(name, output)
        estimates.update(clip_estimates)
        estimates.update(set_estimates)
        notes.extend(set_notes)

    return EditEvaluation(estimates, statistics, references, notes)


def available_needs(edits: Edits, references: References, config: EvaluateConfig) -> set[str]:
    """What of `cdrl.evaluation.edit_metrics.MISSING` is not missing here."""
    conditions = {
        TRUE_EDITS: isinstance(edits, TrueEdits),
        OTHER_CLIPS: _other_clips_exist(edits, references),
        BILABIALS: edits.has_phonemes,
        PROTOCOL: "protocol" in edits.requests.clips,
        SYNCNET: bool(config.syncnet),
        ARCFACE: bool(config.arcface),
        EFFICIENT_FACE: bool(config.efficient_face),
    }
    return {need for need, is_met in conditions.items() if is_met}


def _other_clips_exist(edits: Edits, references: References) -> bool:
    """Whether there are two people, with two clips each."""
    num_people = len(set(edits.speakers))
    return references.another_identity is not None and num_people > 1


class _SetScores:
    """FAD and CSIM of every variant; the features of the untouched clips are computed once."""

    def __init__(
        self, edits: Edits, judges: Judges, metrics: Sequence[SetMetric], config: EvaluateConfig
    ) -> None:
        self.edits = edits
        self.metrics = metrics
        self.networks = [metric.network for metric in metrics]
        self.extractor = FeatureExtractor(judges, config.arcface, config.efficient_face)

        self.untouched = []
        if metrics:
            for number in range(len(edits.report.clips)):
                features = self.extractor.extract(edits.clip(number), self.networks)
                self.untouched.append(features)

    def score(self, prefix: str, output: Outputs) -> tuple[dict[str, Estimate], list[str]]:
        """The estimates of one variant, and notes on what had too few frames."""
        if not self.metrics:
            return {}, []

        edited = []
        for edit in range(len(self.edits)):
            edited.append(self.extractor.extract(output(edit), self.networks))

        requests = self.edits.requests.clips
        clips = self.edits.report.clips
        sets = FrameSets(edited, requests, self.untouched, clips)

        return score_sets(prefix, sets, self.metrics)


def edit_statistics(
    outputs: Outputs,
    edits: Edits,
    references: References,
    judges: Judges,
    title: str,
    names: Sequence[str] = TABLE_SCORES,
    syncnet: SyncNet | None = None,
) -> dict[str, np.ndarray]:
    """Compute the statistics of every score, one row an edit.

    Args:
        outputs: number of an edit -> its crops.
        edits: what was requested.
        references: of `read_references`.
        judges: the evaluation networks.
        title: of the progress bar.
        names: scores to compute.
        syncnet: for the scores of lip sync.

    Returns:
        Score -> (E, M) rows.
    """
    read = read_edits(outputs, edits, judges, title, names, syncnet)
    return statistics_from_readings(read.readings, edits, references, names, read.clip_values)


def read_edits(
    outputs: Outputs,
    edits: Edits,
    judges: Judges,
    title: str,
    names: Sequence[str] = TABLE_SCORES,
    syncnet: SyncNet | None = None,
    numbers: Sequence[int] | None = None,
) -> ReadEdits:
    """Run the evaluation networks on the edits of one variant.

    Args:
        outputs: number of an edit -> its crops.
        edits: what was requested.
        judges: the evaluation networks.
        title: of the progress bar.
        names: scores that will be computed.
        syncnet: for the scores of lip sync.
        numbers: of the edits that are read; None reads all.
    """
    with_identity = "identity" in names
    if numbers is None:
        numbers = range(len(edits))

    readings = []
    clip_values: dict[str, list[float]] = {}
    for edit in tqdm(numbers, desc=title, mininterval=2):
        frames = outputs(edit)
        readings.append(read_clip(judges, frames, with_identity))

        values = _clip_values(edits, edit, frames, names, syncnet)
        for name, value in values.items():
            clip_values.setdefault(name, []).append(value)

    return ReadEdits(readings, clip_values)


def read_sources(
    edits: Edits,
    references: References,
    names: Sequence[str] = TABLE_SCORES,
    syncnet: SyncNet | None = None,
) -> ReadEdits:
    """What `read_edits` would read of edits that change nothing; no network reads a clip again.

    Args:
        edits: what was requested.
        references: of `read_references`.
        names: scores that will be computed.
        syncnet: for the scores of lip sync.
    """
    clip_values: dict[str, list[float]] = {}
    for edit in range(len(edits)):
        values = _clip_values(edits, edit, edits.source(edit), names, syncnet)
        for name, value in values.items():
            clip_values.setdefault(name, []).append(value)

    return ReadEdits(references.source, clip_values)


def _clip_values(
    edits: Edits, edit: int, frames: np.ndarray, names: Sequence[str], syncnet: SyncNet | None
) -> dict[str, float]:
    """The scores that are computed from the frames of one edit."""
    values: dict[str, float] = {}
    if isinstance(edits, TrueEdits) and "psnr" in names:
        truth = edits.truth(edit)
        values["psnr"] = psnr(frames, truth)
        values["mouth_l1"] = mouth_l1(frames, truth, edits.mouth_boxes(edit))

    if syncnet is not None:
        sound = edits.report.sound(int(edits.sources[edit]))
        lse = lse_of_clip(syncnet, frames, sound, edits.frame_rate(edit))
        values.update(zip(LIP_SYNC_SCORES, lse, strict=True))

    return values


def statistics_from_readings(
    readings: list[ClipReading],
    edits: Edits,
    references: References,
    names: Sequence[str] = SWEEP_SCORES,
    clip_values: Mapping[str, Sequence[float]] | None = None,
) -> dict[str, np.ndarray]:
    """Compute the statistics of clips that were read before.

    Args:
        readings: of the edited clips.
        edits: what was requested.
        references: of `read_references`.
        names: scores to compute.
        clip_values: name of a score -> its value for each edit.

    Returns:
        Score -> (E, M) rows.
    """
    evidence = EditReadings(
        readings,
        references,
        edits.target_emotions,
        edits.speakers,
        clip_values or {},
        edits.closed(),
    )
    return compute_statistics(evidence, names)


def estimate_variant(
    prefix: str,
    statistics: Mapping[str, np.ndarray],
    references: References,
    edits: Edits,
    times: int = 1,
) -> dict[str, Estimate]:
    """All estimates of one variant, see `cdrl.evaluation.edit_scores`.

    Args:
        prefix: "spfem.image.cdrl".
        statistics: score -> (E, M) rows, or those of several training seeds one after another.
        references: of `read_references`.
        edits: what was requested.
        times: the number of training seeds.
    """
    speakers = np.tile(edits.speakers, times)
    target = np.tile(edits.target_emotions, times)
    seeds = np.repeat(np.arange(times), len(edits.speakers))

    scores = {name: restore_statistics(name, rows) for name, rows in statistics.items()}
    accuracy = scores.pop("emotion_accuracy", None)
    estimates = estimate_per_emotion(prefix, scores, speakers, target, seeds)
    name = f"{prefix}.closure"
    if name in estimates and references.truth:
        of_truth = closure_of_readings(references.truth, edits.closed())
        estimates[name] = estimates[name].with_details(truth=of_truth.value)

    if accuracy is None:
        return estimates

    truth = None
    if references.truth:
        once = accuracy_of_readings(references.truth, edits.target_emotions)
        truth = ScoreStatistics(np.tile(once.rows, (times, 1)), once.formula)

    of_emotion = estimate_emotion_accuracy(
        prefix, accuracy, target, speakers, truth, references.source_accuracy, seeds
    )

    return estimates | of_emotion


def sweep_intensity(
    nothing_done: dict[str, np.ndarray],
    as_requested: dict[str, np.ndarray],
    scales: Sequence[float],
    outputs: ScaledOutputs,
    edits: Edits,
    references: References,
    judges: Judges,
    title: str,
) -> list[dict[str, np.ndarray]]:
    """The statistics with nothing done, and at every intensity scale.

    Args:
        nothing_done: score -> (E, M) statistics of the source.
        as_requested: score -> (E, M) statistics at scale 1.
        scales: the intensity scales.
        outputs: number of an edit, intensity scale -> its crops.
        edits: what was requested.
        references: of `read_references`.
        judges: the evaluation networks.
        title: of the progress bar.
    """
    curve = [nothing_done]
    for scale in scales:
        if scale == 1:
            curve.append(as_requested)
            continue
        scaled = _AtScale(outputs, scale)
        heading = f"{title} at {scale:g}"
        statistics = edit_statistics(scaled, edits, references, judges, heading, SWEEP_SCORES)
        curve.append(statistics)

    return curve


@dataclass(frozen=True)
class _AtScale:
    """The outputs at one intensity scale."""

    outputs: ScaledOutputs
    scale: float

    def __call__(self, edit: int) -> np.ndarray:
        return self.outputs(edit, self.scale)


def format_estimates(estimates: Mapping[str, Estimate], scores: Sequence[str]) -> str:
    """A table of estimates `spfem.EDITOR.VARIANT.SCORE`, one line a variant.

    Args:
        estimates: name -> estimate with an interval.
        scores: which scores, in their order.

    >>> format_estimates({"spfem.rendered.cdrl.jitter": Estimate(1.0, 0.9, 1.25)}, ["jitter"])
    'cdrl: jitter 1.000 (0.900 to 1.250)'
    """
    prefixes = {".".join(name.split(".")[:3]): None for name in estimates}
    lines = []
    for prefix in prefixes:
        cells = []
        for score in scores:
            estimate = estimates.get(f"{prefix}.{score}")
            if estimate is not None:
                cells.append(f"{score} {estimate.value:.3f}{_interval_text(estimate)}")
        variant = prefix.rpartition(".")[2]
        lines.append(f"{variant}: {', '.join(cells)}")

    return "\n".join(lines)


def _interval_text(estimate: Estimate) -> str:
    """An interval in brackets; nothing where one person alone scores."""
    if estimate.low is None or not np.isfinite(estimate.low):
        return ""
    return f" ({estimate.low:.3f} to {estimate.high:.3f})"
