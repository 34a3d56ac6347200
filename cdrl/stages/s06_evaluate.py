"""Notebook 06: scores of the edits, against the true edits or, on a corpus without them, against their sources."""

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cdrl.core.files import read_json
from cdrl.core.paths import repository_root
from cdrl.core.results import RESULTS, all_scores
from cdrl.core.settings import EvaluateConfig, stage_folder
from cdrl.corpora.store import Store
from cdrl.editing.pipeline import edit_clip
from cdrl.editors.actions import RENDERER
from cdrl.editors.base import Editor
from cdrl.editors.loading import load_editor
from cdrl.evaluation.edit_comparison import (
    estimate_at_equal_accuracy,
    estimate_differences,
    estimate_intensity_curve,
    parse_intensity_scales,
)
from cdrl.evaluation.edit_evaluation import EditEvaluation, evaluate_edits, sweep_intensity
from cdrl.evaluation.edit_tasks import Edits
from cdrl.evaluation.estimate import Estimate, flatten_scores
from cdrl.evaluation.judges import Judges
from cdrl.evaluation.metrics import TABLE_SCORES, restore_statistics
from cdrl.media import faces
from cdrl.models.image_editor import ImageEditor
from cdrl.stages.notes import write_notes
from cdrl.stages.s00_corpus import has_truth
from cdrl.stages.s05_generate import TRAINED, edits_of
from cdrl.studio import corpus as studio
from cdrl.studio.acting import act

# What a reader must know of the scores on a corpus without true edits.
WITHOUT_TRUTH = (
    "emotion_accuracy: by two judges trained on rendered people, not calibrated on this corpus; "
    "`.sources` is what they read of the untouched clips' own labels",
    "identity: to the source clip, 1 as alike as it is to another clip of that person, 0 as a "
    "stranger of this corpus",
    "frechet.identity, similarity.judge_a: FAD and CSIM by the release's formulas on the kit's own "
    "networks, which do not compare with its tables",
    "the generator is asked by label and level: of a reference clip it takes those, not its frames",
)
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
        frames = self.edits.requests.frames(edit)
        return np.asarray(self.crops[frames])


@dataclass(frozen=True)
class ScaledEdits:
    """Edits by one editor at any intensity scale, (T, S, S, 3) uint8."""

    editor: ImageEditor
    edits: Edits

    def __call__(self, edit: int, scale: float) -> np.ndarray:
        intensity = self.edits.intensity(edit, scale)
        emotion = self.edits.target_emotions[edit]
        return edit_clip(self.editor, self.edits.source(edit), emotion, intensity)


def evaluate(run: Path, config: EvaluateConfig, out: Path) -> dict[str, float]:
    """Notebook 06: the edits evaluated by networks that supervised nothing.

    Returns:
        spfem.image.{copy_source,constant,baseline,cdrl}.*: as SCORES defines them, with intervals
        over speakers. With true edits also spfem.image.cdrl_minus_baseline.*: paired over clips, and
        the mouth at equal emotion accuracy; spfem.image.cdrl.fps, and spfem.drawn.cdrl.fps of the
        committed edit by facial actions. A score whose needs are not met is left out;
        `notes.json` says why.
    """
    folder = stage_folder(run, "generator")
    with_truth = has_truth(run)
    variants = ("constant", *TRAINED) if with_truth else TRAINED
    crops = {}
    for variant in variants:
        crops[variant] = np.load(folder / variant / "outputs.npy", mmap_mode="r")
    edits = edits_of(run, crops["cdrl"].shape[1])
    outputs = {"copy_source": edits.source}
    for variant in variants:
        outputs[variant] = SavedOutputs(crops[variant], edits)

    judges = Judges()
    evaluation = evaluate_edits(edits, outputs, judges, config)
    if not with_truth:
        crop_notes = [OTHER_CROPS] if edits.report.crop != "aligned" else []
        write_notes(out, [*evaluation.notes, *WITHOUT_TRUTH, *crop_notes])
        scores = flatten_scores(evaluation.estimates)
        return {name: value for name, value in scores.items() if np.isfinite(value)}

    write_notes(out, evaluation.notes)
    comparison = compare_with_baseline(folder, edits, judges, evaluation, config)
    scores = flatten_scores(evaluation.estimates | comparison)
    return scores | edit_speeds(folder, edits)


def compare_with_baseline(
    folder: Path, edits: Edits, judges: Judges, evaluation: EditEvaluation, config: EvaluateConfig
) -> dict[str, Estimate]:
    """CDRL beside the editor without guidance: paired over clips, and at equal emotion accuracy.

    Args:
        folder: of the generator stage, with both editors.
        edits: what was requested.
        judges: the evaluation networks.
        evaluation: of both editors at the requested level.
        config: the intensity scales and the seed.
    """
    statistics = evaluation.statistics
    restored = {}
    for variant in TRAINED:
        of_variant = statistics[variant]
        restored[variant] = {
            name: restore_statistics(name, of_variant[name]) for name in of_variant
        }
    prefix = "spfem.image.cdrl_minus_baseline"
    clips = np.arange(len(edits))
    target = edits.target_emotions
    estimates = estimate_differences(
        prefix, restored["cdrl"], restored["baseline"], clips, target, config.seed
    )

    scales = parse_intensity_scales(config.sweep)
    curves = {}
    for variant in TRAINED:
        editor = load_editor(folder / variant)
        curves[variant] = sweep_intensity(
            statistics["copy_source"],
            statistics[variant],
            scales,
            ScaledEdits(editor, edits),
            edits,
            evaluation.references,
            judges,
            variant,
        )
        name = f"spfem.image.{variant}"
        estimates |= estimate_intensity_curve(name, [0.0, *scales], curves[variant])
    at_equal_accuracy = estimate_at_equal_accuracy(
        prefix, [curves["cdrl"]], [curves["baseline"]], clips, config.seed
    )
    return estimates | at_equal_accuracy


def edit_speeds(folder: Path, edits: Edits) -> dict[str, float]:
    """Frames a second of the whole edit: of CDRL, and of the committed edit by facial actions."""
    editors = {"image": load_editor(folder / "cdrl")}
    if edits.report.crop == "aligned":
        editors["drawn"] = load_editor(RENDERER)
    speeds = {}
    for name, editor in editors.items():
        speeds[f"spfem.{name}.cdrl.fps"] = edit_speed(editor, edits.report, edits.sources[0])
    return speeds


def edit_speed(generator: Editor, report: Store, clip: int) -> float:
    """Frames a second of the whole edit of one 128 px clip: face found, cropped, edited, put back (files not counted)."""
    name = report.clips.name[clip]
    spec = studio.spec_of(name)
    frames, _ = studio.render_performance(spec, act(spec), 128)
    start = time.perf_counter()
    alignment = faces.align(frames, name=name, crop=report.crop)
    edited = edit_clip(
        generator, faces.crop(frames, alignment, 96), "happy" if spec.emotion != "happy" else "sad"
    )
    faces.paste(frames, edited, alignment)
    return len(frames) / (time.perf_counter() - start)


def variant_table(scores: dict, variants: list[str], host: str = "image") -> pd.DataFrame:
    """One row per score, one column per variant: value and interval over speakers."""
    cell = lambda name: (
        f"{scores[name]:.3f} ({scores[f'{name}.low']:.3f} to {scores[f'{name}.high']:.3f})"
    )  # noqa: E731
    return pd.DataFrame(
        {
            v: {
                n: cell(f"spfem.{host}.{v}.{n}")
                for n in TABLE_SCORES
                if f"spfem.{host}.{v}.{n}" in scores
            }
            for v in variants
        }
    )


def intensity_curves(scores: dict, variants: list[str], host: str = "image") -> dict:
    """{variant: (accuracies, mouth errors, settings)} along the dial of every variant that has one, the settings as texts."""
    found = {}
    for variant in variants:
        prefix, suffix = f"spfem.{host}.{variant}.dial_", ".mouth_error"
        dials = sorted(
            name[len(prefix) : -len(suffix)]
            for name in scores
            if name.startswith(prefix) and name.endswith(suffix)
        )
        if dials:
            values = [
                [scores[f"{prefix}{dial}.{score}"] for dial in dials]
                for score in ("emotion_accuracy", "mouth_error")
            ]
            found[variant] = (*values, [f"{int(dial) / 100:g}" for dial in dials])
    return found


def committed_edits(where: str = "results/study", host: str = "image") -> tuple[dict, list[str]]:
    """The scores of the committed study and its variants of one host; no variant where its edit half was not made yet."""
    path = repository_root() / where / RESULTS
    scores = all_scores(read_json(path)) if path.exists() else {}
    names = [
        name.split(".")[2]
        for name in scores
        if name.startswith(f"spfem.{host}.") and name.endswith(".mouth_error.seeds")
    ]
    return scores, [name for name in dict.fromkeys(names) if "_minus_" not in name]
