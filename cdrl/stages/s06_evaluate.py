"""Notebook 06: scores of the edits against true edits, or against their sources without those."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from cdrl.core.files import read_array
from cdrl.core.paths import repository_root
from cdrl.core.results import RESULTS, all_scores, check_results
from cdrl.core.settings import EvaluateConfig, stage_folder
from cdrl.corpora.store import Store
from cdrl.editing.pipeline import edit_clip
from cdrl.editors.base import Editor
from cdrl.editors.loading import load_editor
from cdrl.evaluation.edit_comparison import (
    estimate_at_equal_accuracy,
    estimate_differences,
    estimate_intensity_curve,
    parse_intensity_scales,
)
from cdrl.evaluation.edit_evaluation import (
    EditEvaluation,
    Outputs,
    ReadEdits,
    evaluate_edits,
    read_edits,
    read_sources,
    statistics_from_readings,
)
from cdrl.evaluation.edit_metrics import SWEEP_SCORES, TABLE_SCORES, restore_statistics
from cdrl.evaluation.edit_tasks import Edits
from cdrl.evaluation.estimate import Estimate, flatten_scores
from cdrl.evaluation.judges import Judges
from cdrl.evaluation.lip_sync import load_syncnet
from cdrl.evaluation.readings import References, read_references
from cdrl.media import faces
from cdrl.stages.notes import write_notes
from cdrl.stages.s00_corpus import has_truth
from cdrl.stages.s05_generate import TRAINED, edit_at_scales, editor_of_run, open_edits
from cdrl.stages.s05_training import run_editor
from cdrl.studio import corpus as studio
from cdrl.studio.acting import act
from cdrl.training.side_by_side import side_by_side

# What a reader must know of the scores on a corpus without true edits.
WITHOUT_TRUTH = (
    "emotion_accuracy: by two judges trained on rendered people, not calibrated on this corpus; "
    "`.sources` is what they read of the untouched clips' own labels",
    "identity: to the source clip, 1 as alike as it is to another clip of that person, 0 as a "
    "stranger of this corpus",
    "frechet.identity, similarity.judge_a: FAD and CSIM by the release's formulas on the kit's own "
    "networks, which do not compare with its tables",
    "the editor gets label and level: of a reference clip it uses those, not its frames",
)
BESIDE = "baseline"  # the variant of which another process reads a part, with the references
TIMED_SIZE = 128  # pixels of the frames of the timed edit
TIMED_CROP = 96  # pixels of its face
OTHER_CROPS = (
    "judges and tracker learnt on aligned crops; the faces of this run are cropped as the release "
    "did, so they read them worse"
)


@dataclass(frozen=True)
class SavedOutputs:
    """The edited crops that notebook 05 saved, edit by edit.

    Args:
        crops: (N, S, S, 3) uint8, all edited frames.
        edits: what was requested.
    """

    crops: np.ndarray
    edits: Edits

    def __call__(self, edit: int) -> np.ndarray:
        """Return the crops of an edit, (T, S, S, 3) uint8."""
        frames = self.edits.requests.frames(edit)
        return np.asarray(self.crops[frames])


class ScaledEdits:
    """Edits by one editor at some intensity scales, made together: the editor looks once at a clip.

    Args:
        editor: makes them.
        edits: what was requested.
        scales: of the intensity; each edit is read once at each of them.
    """

    def __init__(self, editor: Editor, edits: Edits, scales: Sequence[float]):
        self.editor = editor
        self.edits = edits
        self.scales = scales
        self._waiting: dict[tuple[int, float], np.ndarray] = {}

    def __call__(self, edit: int, scale: float) -> np.ndarray:
        """Return the crops of an edit at an intensity scale, (T, S, S, 3) uint8."""
        if (edit, scale) not in self._waiting:
            crops_at_scales = edit_at_scales(self.editor, self.edits, edit, self.scales)
            for each, crops in zip(self.scales, crops_at_scales, strict=True):
                self._waiting[edit, each] = crops

        return self._waiting.pop((edit, scale))


def evaluate(run: Path, config: EvaluateConfig, out: Path) -> dict[str, float]:
    """Notebook 06: evaluate the edits by networks that supervised nothing.

    Args:
        run: folder of the run.
        config: the stage's settings.
        out: the stage's folder.

    Returns:
        `spfem.EDITOR.VARIANT.*`, EDITOR actions or image, with intervals over speakers, of
        copy_source, constant, baseline and cdrl. With true edits also
        `spfem.EDITOR.cdrl_minus_baseline.*`, paired over clips, and the mouth at equal emotion
        accuracy; `spfem.EDITOR.cdrl.fps`. A score whose needs are not met is left out; `notes.json`
        says why.
    """
    name = editor_of_run(run)
    folder = stage_folder(run, "generator")
    with_truth = has_truth(run)
    variants = ("constant", *TRAINED) if with_truth else TRAINED
    edits, outputs = _saved_outputs(run, variants)
    judges = Judges()
    syncnet = load_syncnet(config.syncnet) if config.syncnet else None
    known = {}
    scaled = {}
    with side_by_side(_read_references, [(run, config)], config) as beside:
        for variant in variants:
            numbers = _first_half(edits) if variant == BESIDE else None
            known[variant] = read_edits(
                outputs[variant], edits, judges, variant, syncnet=syncnet, numbers=numbers
            )
        if with_truth:
            scaled["cdrl"] = _read_scaled(run, "cdrl", edits, judges, config)

    [(references, second_half, scaled[BESIDE])] = beside
    known[BESIDE] = known[BESIDE].followed_by(second_half)
    known["copy_source"] = read_sources(edits, references, syncnet=syncnet)
    outputs = {"copy_source": edits.source} | outputs

    evaluation = evaluate_edits(
        edits, outputs, judges, config, f"spfem.{name}", references=references, known=known
    )
    if not with_truth:
        crop_notes = [OTHER_CROPS] if edits.report.crop != "aligned" else []
        notes = [*evaluation.notes, *_notes_on_people(edits), *WITHOUT_TRUTH, *crop_notes]
        write_notes(out, notes)
        scores = flatten_scores(evaluation.estimates)
        return {name: value for name, value in scores.items() if np.isfinite(value)}

    write_notes(out, evaluation.notes)
    comparison = compare_with_baseline(edits, evaluation, scaled, config, name)
    scores = flatten_scores(evaluation.estimates | comparison)
    editor = load_editor(folder)
    scores[f"spfem.{name}.cdrl.fps"] = edit_speed(editor, edits.report, edits.sources[0])

    return scores


def _saved_outputs(run: Path, variants: Sequence[str]) -> tuple[Edits, dict[str, Outputs]]:
    """Open what was requested, and the edits that notebook 05 saved."""
    folder = stage_folder(run, "generator")
    crops = {}
    for variant in variants:
        crops[variant] = read_array(folder / variant / "outputs.npy", 4, mapped=True)

    edits = open_edits(run, crops[variants[0]].shape[1])
    return edits, {variant: SavedOutputs(crops[variant], edits) for variant in variants}


def _read_references(
    run: Path, config: EvaluateConfig
) -> tuple[References, ReadEdits, dict[float, ReadEdits]]:
    """Read what edits are compared with, and of `BESIDE` half of the edits and each other scale."""
    edits, outputs = _saved_outputs(run, [BESIDE])
    judges = Judges()
    syncnet = load_syncnet(config.syncnet) if config.syncnet else None

    references = read_references(edits, judges, config.seed)
    numbers = range(len(_first_half(edits)), len(edits))
    read = read_edits(outputs[BESIDE], edits, judges, BESIDE, syncnet=syncnet, numbers=numbers)
    scaled = {}
    if has_truth(run):
        scaled = _read_scaled(run, BESIDE, edits, judges, config)

    return references, read, scaled


def _first_half(edits: Edits) -> range:
    """The edits of `BESIDE` that are read in this process, so that both end together."""
    return range(len(edits) // 2)


def _read_scaled(
    run: Path, variant: str, edits: Edits, judges: Judges, config: EvaluateConfig
) -> dict[float, ReadEdits]:
    """Edit by one variant at each intensity scale beside 1, and read it."""
    scales = [scale for scale in parse_intensity_scales(config.sweep) if scale != 1]
    editor = run_editor(run, stage_folder(run, "generator") / variant)
    outputs = ScaledEdits(editor, edits, scales)

    read = {}
    for scale in scales:
        at_scale = partial(outputs, scale=scale)
        title = f"{variant} at {scale:g}"
        read[scale] = read_edits(at_scale, edits, judges, title, SWEEP_SCORES)

    return read


def _notes_on_people(edits: Edits) -> list[str]:
    """Say that there are no intervals where one person reports."""
    people = sorted(set(edits.speakers))
    if len(people) > 1:
        return []
    return [
        f"left out all intervals: {people[0]} alone reports, and an interval over people needs two"
    ]


def compare_with_baseline(
    edits: Edits,
    evaluation: EditEvaluation,
    scaled: Mapping[str, Mapping[float, ReadEdits]],
    config: EvaluateConfig,
    editor: str,
) -> dict[str, Estimate]:
    """Compare CDRL with the editor without guidance, clip by clip and at equal accuracy.

    Args:
        edits: what was requested.
        evaluation: of both editors at the requested level.
        scaled: of both editors, what was read at each other intensity scale.
        config: the intensity scales and the seed.
        editor: actions or image, in the scores' names.
    """
    statistics = evaluation.statistics
    restored = {}
    for variant in TRAINED:
        of_variant = statistics[variant]
        restored[variant] = {
            name: restore_statistics(name, of_variant[name]) for name in of_variant
        }

    prefix = f"spfem.{editor}.cdrl_minus_baseline"
    people = edits.speakers
    if len(set(people)) == 1:
        people = np.arange(len(edits))  # an interval over the clips of this one person

    target = edits.target_emotions
    estimates = estimate_differences(prefix, restored["cdrl"], restored["baseline"], people, target)

    scales = parse_intensity_scales(config.sweep)
    curves = {}
    for variant in TRAINED:
        curve = [statistics["copy_source"]]
        for scale in scales:
            rows = statistics[variant]
            if scale != 1:
                readings = scaled[variant][scale].readings
                rows = statistics_from_readings(readings, edits, evaluation.references)
            curve.append(rows)
        curves[variant] = curve
        name = f"spfem.{editor}.{variant}"
        estimates |= estimate_intensity_curve(name, [0.0, *scales], curves[variant])

    at_equal_accuracy = estimate_at_equal_accuracy(
        prefix, [curves["cdrl"]], [curves["baseline"]], people, config.seed
    )

    return estimates | at_equal_accuracy


def edit_speed(editor: Editor, report: Store, clip: int) -> float:
    """Measure the whole edit of one clip: face found, cropped, edited, pasted (files not counted).

    Args:
        editor: of `load_editor`.
        report: store of the clip.
        clip: its number.

    Returns:
        Frames a second at 128 pixels.
    """
    name = report.clips.name[clip]
    spec = studio.spec_of(name)

    frames, _ = studio.render_performance(spec, act(spec), TIMED_SIZE)
    target = "sad" if spec.emotion == "happy" else "happy"

    start = time.perf_counter()
    alignment = faces.align(frames, name=name, crop=report.crop)

    edited = edit_clip(editor, faces.crop(frames, alignment, TIMED_CROP), target)
    faces.paste(frames, edited, alignment)

    return len(frames) / (time.perf_counter() - start)


def variant_table(
    scores: dict[str, float], variants: list[str], editor: str = "image"
) -> pd.DataFrame:
    """Build a table with one row for each score and one column for each variant.

    Args:
        scores: of a run or of the study.
        variants: names of the columns.
        editor: image, rendered or actions.

    Returns:
        Texts: value and interval over speakers; the value alone where one person reports.
    """
    columns = {}
    for variant in variants:
        cells = {}
        for score in TABLE_SCORES:
            name = f"spfem.{editor}.{variant}.{score}"
            if name in scores:
                cells[score] = score_text(scores, name)
        columns[variant] = cells

    return pd.DataFrame(columns)


def score_text(scores: dict[str, float], name: str) -> str:
    """Write a score with its interval, or alone where it has none.

    Args:
        scores: of a run or of the study.
        name: of the score.

    >>> score_text({"a": 0.5, "a.low": 0.25, "a.high": 0.75}, "a"), score_text({"a": 0.5}, "a")
    ('0.500 (0.250 to 0.750)', '0.500')
    """
    low = scores.get(f"{name}.low", math.nan)
    high = scores.get(f"{name}.high", math.nan)
    value = f"{scores[name]:.3f}"
    if not (math.isfinite(low) and math.isfinite(high)):
        return value
    return f"{value} ({low:.3f} to {high:.3f})"


def intensity_curves(
    scores: dict[str, float], variants: list[str], editor: str = "image"
) -> dict[str, tuple[list[float], list[float], list[str]]]:
    """Collect emotion accuracy and mouth error along the intensity scales.

    Args:
        scores: of a run or of the study.
        variants: to look for.
        editor: image, rendered or actions.

    Returns:
        {variant: (accuracies, mouth errors, scales as texts)} of the variants with several scales.
    """
    curves = {}
    for variant in variants:
        prefix = f"spfem.{editor}.{variant}.scale_"
        suffix = ".mouth_error"
        scales = []
        for name in scores:
            if name.startswith(prefix) and name.endswith(suffix):
                scales.append(name.removeprefix(prefix).removesuffix(suffix))
        if not scales:
            continue

        scales.sort()
        accuracies = [scores[f"{prefix}{scale}.emotion_accuracy"] for scale in scales]
        errors = [scores[f"{prefix}{scale}.mouth_error"] for scale in scales]
        curves[variant] = (accuracies, errors, [f"{int(scale) / 100:g}" for scale in scales])

    return curves


def committed_edits(
    where: str = "results/study", editor: str = "image"
) -> tuple[dict[str, float], list[str]]:
    """Read the scores of the committed study, and list its variants of one editor.

    Args:
        where: folder of the results in the clone.
        editor: image, rendered or actions.

    Returns:
        All scores; the variants, none where the edit half of the study was not made yet.
    """
    path = repository_root() / where / RESULTS
    if not path.exists():
        return {}, []

    scores = all_scores(check_results(path))
    variants: dict[str, None] = {}
    for name in scores:
        if name.startswith(f"spfem.{editor}.") and name.endswith(".mouth_error.seeds"):
            variant = name.split(".")[2]
            if "_minus_" not in variant:
                variants[variant] = None

    return scores, list(variants)
