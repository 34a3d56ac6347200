"""The edit half of the study: one job is one editor, one variant and one seed.

What all jobs share is made first (`prepare_edits`, `make_shared`). An editor is one entry of
`EDITORS`. All variants of an editor get the same steps, batch, start, people and intensity scales;
baseline and cdrl of the image editor get two further weights each.
"""

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from cdrl.baselines.released.guidance import ReleasedGuidance, train_released
from cdrl.core.checkpoint import weights_path
from cdrl.core.code_identity import join_codes
from cdrl.core.files import atomic_path, damaged, read_arrays, write_json
from cdrl.core.former_names import former_row
from cdrl.core.presets import IMAGE_EDITOR
from cdrl.core.settings import (
    LARGEST_FRONTIER_SCALE,
    ContentConfig,
    GeneratorConfig,
    StudyConfig,
    config_hash,
    edit_hash,
)
from cdrl.core.weight_files import checksum
from cdrl.corpora.store import Store
from cdrl.editing.control import emotion_weights
from cdrl.editing.pipeline import edit_clip, edit_stream
from cdrl.editors.actions import RENDERER, load_renderer
from cdrl.editors.constant_baseline import fit_constant
from cdrl.editors.image import ReleasedWindowGuidance, WindowGuidance, train_image_editor
from cdrl.editors.paired import train_paired_image_editor
from cdrl.editors.variants import ACTION_VARIANTS, IMAGE_PAIRED, IMAGE_VARIANTS
from cdrl.evaluation.edit_comparison import parse_intensity_scales
from cdrl.evaluation.edit_evaluation import (
    edit_statistics,
    estimate_variant,
    statistics_from_readings,
    sweep_intensity,
)
from cdrl.evaluation.edit_metrics import TABLE_SCORES, with_derived_scores
from cdrl.evaluation.edit_tasks import TrueEdits
from cdrl.evaluation.estimate import flatten_scores
from cdrl.evaluation.judges import Judges
from cdrl.evaluation.readings import (
    ClipReading,
    References,
    collect,
    load_references,
    read_references,
    save_references,
)
from cdrl.priors.actions import ACTION_TRACKER
from cdrl.representation.guidance import Guidance
from cdrl.studio import edits as studio_edits
from cdrl.study.action_jobs import (
    LEVELS,
    ExpectedEdits,
    RenderedEdits,
    SweepEditor,
    make_students,
    manipulator_settings,
    tracked_readings,
    tracker_folder,
    train_manipulator,
)
from cdrl.study.curve_jobs import CURVE_SCORES, predict_curves, read_pairs
from cdrl.study.encoder_jobs import encoder_settings, train_encoders
from cdrl.study.inputs import LANGUAGE, study_features, training_pairs
from cdrl.study.job_code import job_code, study_code
from cdrl.study.opponent_jobs import make_opponent_shared, opponent_phases, train_opponent
from cdrl.study.row import Job
from cdrl.study.rows import TABLES
from cdrl.study.seal import SEALED, read_chosen, read_protocol

EDIT = TABLES["edit"]
# (number of an edit, intensity scale) -> its crops (T, S, S, 3) uint8.
MakeEdit = Callable[[int, float], np.ndarray]
Statistics = dict[str, np.ndarray]  # score -> (E, M)
# Makes the edits of one row: (work, config, row, seed, edits) -> what makes an edit, losses.
TrainEditor = Callable[[Path, StudyConfig, str, int, TrueEdits], tuple[MakeEdit, dict[str, float]]]

SHARED_FILES = {
    "references": "references.npz",
    "tracked": "{tracker}/tracked.npz",
    "guidance": "guidance/{seed}/03_emotion",
    "released": "released/{seed}/model.safetensors",
    "students": "{tracker}/students/{seed}/model.safetensors",
    "curves": "curves.npz",
}
# Weights that the jobs of an editor depend on; their sums are in the names of its jobs' files.
WEIGHTS_OF_EDITOR = {"rendered": (ACTION_TRACKER,), "actions": (ACTION_TRACKER, RENDERER)}
GUIDED_EDITORS = ("image", "rendered", "actions")
MANIPULATOR_EDITORS = ("rendered", "actions")
FRAME_SIZE = 128  # pixels, as in the study's corpora
CROP_SIZE = 96  # pixels, as in the study's corpora
PICTURE_SCORES = ("psnr", "mouth_l1", "identity")  # not of an editor that renders its edits


def edit_folder(work: Path, config: StudyConfig) -> Path:
    """Return the folder of what the edits with these settings share.

    Other settings, loss weights, starting weights or sealed people have another folder.

    Args:
        work: the study's work folder.
        config: the study's settings.
    """
    content, emotion = encoder_settings(config, 0)
    generator = generator_settings(config, 0)

    manipulator = manipulator_settings(config, 0)
    recipes: list[Any] = [
        [config_hash(settings) for settings in (content, emotion, generator, manipulator)],
        IMAGE_VARIANTS,
        IMAGE_PAIRED,
        ACTION_VARIANTS,
        checksum(weights_path("generator_start")),
    ]
    if config.split == SEALED:
        recipes.append(read_protocol().seed)  # who they are

    return Path(work) / f"edit_{edit_hash(config, recipes)}"


def generator_settings(config: StudyConfig, seed: int, row: str = "image.cdrl") -> GeneratorConfig:
    """Return the settings of the image editor, the same for every row but for its loss weights."""
    weights = {name: value for name, value in EDIT[row].change.items() if name != "variant"}
    return GeneratorConfig(
        editor="image",
        size=config.edit_size,
        steps=config.edit_steps,
        batch=config.edit_batch,
        learning_rate=IMAGE_EDITOR["generator.learning_rate"],
        seed=seed,
        **weights,
    )


def edit_job_path(folder: Path, row: str, seed: int) -> Path:
    """Return the file with the scores of one job; its statistics lie beside it, as .npz.

    With other tracker or renderer weights the jobs that need them are done again. A job that was
    done under a former name of its row keeps that name.

    Args:
        folder: of `edit_folder`.
        row: as in `EDIT`.
        seed: of the training.
    """
    present = _job_file_name(row, row, seed)
    former = _job_file_name(former_row(row), row, seed)
    jobs = Path(folder) / "jobs"

    return jobs / former if (jobs / former).exists() else jobs / present


def _job_file_name(name: str, row: str, seed: int) -> str:
    """Return `NAME.SEED.SUM...json` with the sums of the weights that the row's editor needs."""
    editor = row.partition(".")[0]
    sums = [checksum(weights_path(weights))[:8] for weights in WEIGHTS_OF_EDITOR.get(editor, ())]
    return ".".join([name, str(seed), *sums, "json"])


def copy_finished_jobs(source: Path, target: Path) -> None:
    """Copy finished jobs that `target` lacks.

    They are small, and so a study goes on where its results are, on another machine too.

    Args:
        source: a folder of jobs.
        target: another one; it is made where it is missing.
    """
    for scores in sorted(Path(source).glob("*.json")):
        if (target / scores.name).exists():
            continue
        # The scores come last: they say that a job is done.
        for path in (scores.with_suffix(".npz"), scores):
            with atomic_path(target / path.name) as partial:
                shutil.copyfile(path, partial)


def open_edits(work: Path, config: StudyConfig) -> TrueEdits:
    """Open the clips and the true edits of the reporting people."""
    report = Store(Path(work) / config.split)
    truth = Store(edit_folder(work, config) / "truth")
    return TrueEdits(report, truth, config.edit_size)


def prepare_edits(work: Path, config: StudyConfig, jobs: list[Job]) -> list[list[tuple[str, int]]]:
    """Render the true edits that the jobs need, and list what `make_shared` has yet to make.

    The true edits of the training people are rendered, and read, for the variant `paired` alone.

    Args:
        work: the study's work folder.
        config: the study's settings.
        jobs: of the edit half.

    Returns:
        Lists of (what, seed); each list needs those before it.
    """
    if not jobs:
        return [[], []]

    folder = edit_folder(work, config)
    _render_true_edits(work / config.split, folder / "truth", config.edits, config)
    if any(variant_of(job.row) == "paired" for job in jobs):
        _render_true_edits(work / "train", folder / "paired", config.edit_pairs, config)

    first = [("references", 0)]
    if any(job.row.startswith("rendered.") for job in jobs):
        first.append(("tracked", 0))
    if any(job.row == "curves.paired" for job in jobs):
        first.append(("curves", 0))

    first += [("guidance", seed) for seed in _seeds_with_guidance(jobs, GUIDED_EDITORS)]
    released_seeds = {job.seed for job in jobs if variant_of(job.row) == "released"}

    first += [("released", seed) for seed in sorted(released_seeds)]
    second = [("students", seed) for seed in _seeds_with_guidance(jobs, MANIPULATOR_EDITORS)]

    phases = [_missing(folder, first), _missing(folder, second)]
    return phases + opponent_phases(work, config, jobs)


def _render_true_edits(clips: Path, out: Path, number: int, config: StudyConfig) -> None:
    """Render `number` true edits of the clips of a store, where they are missing."""
    store = Store(clips)
    if (out / "store.json").exists():
        return

    requests = studio_edits.draw_edits(store, number)
    studio_edits.generate_edits(store, requests, out, FRAME_SIZE, CROP_SIZE, config.workers)


def _seeds_with_guidance(jobs: list[Job], editors: tuple[str, ...]) -> list[int]:
    """List the seeds whose jobs need the guidance of this kit."""
    guided = IMAGE_VARIANTS.keys() - {"released"}
    seeds = set()
    for job in jobs:
        is_opponent = bool(EDIT[job.row].teacher)
        is_guided = job.row.partition(".")[0] in editors and variant_of(job.row) in guided
        if is_guided and not is_opponent:
            seeds.add(job.seed)

    return sorted(seeds)


def _missing(folder: Path, items: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
    return [item for item in items if not shared_path(folder, *item).exists()]


def shared_path(folder: Path, what: str, seed: int = 0) -> Path:
    """Return where `make_shared` writes something.

    Args:
        folder: of `edit_folder`.
        what: a name in `SHARED_FILES`.
        seed: of what is made once for each seed.
    """
    tracker = tracker_folder(folder).name
    return Path(folder) / SHARED_FILES[what].format(seed=seed, tracker=tracker)


def make_shared(work: Path, config: StudyConfig, what: str, seed: int) -> None:
    """Make one thing that several jobs read.

    Args:
        work: the study's work folder.
        config: the study's settings.
        what: a name in `SHARED_FILES`, or of `opponent_phases`.
        seed: of what is made once for each seed.
    """
    work = Path(work)
    if make_opponent_shared(work, config, what, seed):
        return
    folder = edit_folder(work, config)

    path = shared_path(folder, what, seed)
    if what == "references":
        save_references(read_references(open_edits(work, config), Judges()), path)
    elif what == "tracked":
        readings = tracked_readings(open_edits(work, config), Judges())
        references = References(readings, readings, np.zeros(0))
        save_references(references, path)
    elif what == "curves":
        read_pairs(Store(work / "train"), Store(folder / "paired"), config.edit_size, path)
    elif what == "students":
        encoders = Guidance(folder / "guidance" / str(seed))
        make_students(work, config, seed, encoders, path.parent)
    elif what == "released":
        _train_released(work, config, seed, path.parent)
    else:
        train_encoders(work, config, seed, path.parent)


def _train_released(work: Path, config: StudyConfig, seed: int, out: Path) -> None:
    """Train the encoders that guide as released."""
    train = study_features(work, "train", "actions")
    pairs = training_pairs(work, ContentConfig(pairs=config.pairs, seed=seed))

    steps = (config.released_steps, config.emotion_steps)
    train_released(train, pairs, LANGUAGE, steps, seed, out)


def variant_of(row: str) -> str:
    """Return the variant that a row trains.

    >>> variant_of("image.cdrl"), variant_of("image.cdrl_half")
    ('cdrl', 'cdrl')
    """
    name = row.partition(".")[2]
    return EDIT[row].change.get("variant", name)


def train_image_row(
    work: Path, config: StudyConfig, row: str, seed: int, edits: TrueEdits
) -> tuple[MakeEdit, dict[str, float]]:
    """Train the image editor as a row says.

    Args:
        work: the study's work folder.
        config: the study's settings.
        row: as in `EDIT`.
        seed: of the training.
        edits: which clip becomes which emotion.

    Returns:
        What makes an edit, and the last losses.
    """
    store = Store(Path(work) / "train")
    variant = variant_of(row)
    if variant == "constant":
        constant, residuals = fit_constant(store)
        losses = {f"left.{name}": value for name, value in residuals.items()}
        return partial(_make_edit, constant, edits), losses

    editor, history = _train_image_editor(work, config, row, seed, store)
    return partial(_make_edit, editor, edits), last_losses(history)


def _train_image_editor(
    work: Path, config: StudyConfig, row: str, seed: int, store: Store
) -> tuple[Any, pd.DataFrame]:
    """Train one variant of the image editor; return it and the history of its losses."""
    folder = edit_folder(work, config)
    settings = generator_settings(config, seed, row)

    variant = variant_of(row)
    out = folder / "editors" / f"{row}.{seed}"
    if variant == "paired":
        true_edits = Store(folder / "paired")
        clip_index = {name: index for index, name in enumerate(store.clips.name)}
        sources = [clip_index[studio_edits.source_of(name)] for name in true_edits.clips.name]
        return train_paired_image_editor(
            store, true_edits, np.array(sources), settings, out, settings.start
        )

    if variant == "released":
        released = ReleasedGuidance(folder / "released" / str(seed))
        audio = study_features(Path(work), "train", "actions").audio
        guidance = ReleasedWindowGuidance(released)
        return train_image_editor(store, guidance, settings, variant, out, settings.start, audio)

    encoders = Guidance(folder / "guidance" / str(seed))
    return train_image_editor(
        store, WindowGuidance(encoders), settings, variant, out, settings.start
    )


def _make_edit(editor: Any, edits: TrueEdits, edit: int, scale: float) -> np.ndarray:
    """Return the crops of an edit at an intensity scale, (T, S, S, 3) uint8."""
    emotion = edits.target_emotions[edit]
    intensity = edits.intensity(edit, scale)
    return edit_clip(editor, edits.source(edit), emotion, intensity)


def _make_strong_edit(editor: Any, edits: TrueEdits, edit: int, scale: float) -> np.ndarray:
    """Return the crops of an edit as `_make_edit`, also beyond the intensities that users have."""
    crops = edits.source(edit)
    level = float(edits.requests.clips.intensity.iloc[edit])
    curve = np.full(len(crops), scale * level / LEVELS, np.float32)

    weights = emotion_weights(edits.target_emotions[edit], editor.card.emotions)
    return np.stack(list(edit_stream(editor, crops, weights, curve)))


def train_rendered_row(
    work: Path, config: StudyConfig, row: str, seed: int, edits: TrueEdits
) -> tuple[MakeEdit, dict[str, float]]:
    """Train the action manipulator as a row says; the studio renders its edits.

    Person, pose and light of the rendered edits are the true ones.

    Args:
        work: the study's work folder.
        config: the study's settings.
        row: as in `EDIT`.
        seed: of the training.
        edits: which clip becomes which emotion.

    Returns:
        What makes an edit, and the last losses.
    """
    folder = edit_folder(work, config)
    manipulator, history = train_manipulator(work, config, variant_of(row), seed, folder)
    return RenderedEdits(edits, manipulator), last_losses(history)


def train_actions_row(
    work: Path, config: StudyConfig, row: str, seed: int, edits: TrueEdits
) -> tuple[MakeEdit, dict[str, float]]:
    """Train the same action manipulator, and edit pixels alone with it.

    Actions are tracked in the source's crops; the committed neural renderer draws the change.

    Args:
        work: the study's work folder.
        config: the study's settings.
        row: as in `EDIT`.
        seed: of the training.
        edits: which clip becomes which emotion.

    Returns:
        What makes an edit, and the last losses.
    """
    if EDIT[row].teacher:
        manipulator, history = train_opponent(work, config, row, EDIT[row], seed)
        editor = SweepEditor(manipulator, load_renderer())
        return partial(_make_strong_edit, editor, edits), last_losses(history)

    folder = edit_folder(work, config)
    manipulator, history = train_manipulator(work, config, variant_of(row), seed, folder)
    editor = SweepEditor(manipulator, load_renderer())

    return partial(_make_edit, editor, edits), last_losses(history)


EDITORS: dict[str, TrainEditor] = {
    "image": train_image_row,
    "rendered": train_rendered_row,
    "actions": train_actions_row,
}


def last_losses(history: pd.DataFrame) -> dict[str, float]:
    """Return the last values of every loss term, and how much the total still changed.

    Args:
        history: a row for each logged step, with the columns `step` and `total`.

    Returns:
        `loss.TERM`, the mean of the last five rows; `loss.total.change`, the mean of the last
        quarter relative to the quarter before it, less 1.
    """
    terms = history.drop(columns="step")
    losses = {}
    for name, value in terms.tail(5).mean().items():
        losses[f"loss.{name}"] = float(value)

    quarter = max(1, len(terms) // 4)
    before = terms.total.iloc[-2 * quarter : -quarter].mean()
    last = terms.total.iloc[-quarter:].mean()

    losses["loss.total.change"] = float(last / before - 1)
    return losses


@dataclass(frozen=True)
class Outcome:
    """What one job measured.

    Attributes:
        statistics: of every score at each intensity scale, {scale: {score: (E, M)}}.
        losses: of the training, without the prefix of the row.
    """

    statistics: dict[float, Statistics]
    losses: dict[str, float] = field(default_factory=dict)


def do_edit_job(work: Path, config: StudyConfig, row: str, seed: int) -> None:
    """Train one variant of one editor with one seed, score its edits and write the scores.

    Args:
        work: the study's work folder.
        config: the study's settings.
        row: as in `EDIT`.
        seed: of the training.
    """
    torch.manual_seed(seed)
    begin = time.monotonic()
    code = job_code(work)

    folder = edit_folder(work, config)
    edits = open_edits(work, config)
    references = load_references(shared_path(folder, "references"))

    if EDIT[row].kind in ("raw", "truth") and variant_of(row) != "constant":
        outcome = Outcome({1.0: _untrained_statistics(row, folder, edits, references)})
    else:
        outcome = _train_and_sweep(Path(work), config, row, seed, edits, references)

    path = edit_job_path(folder, row, seed)
    _write_statistics(path.with_suffix(".npz"), outcome.statistics)

    estimates = estimate_variant(f"spfem.{row}", outcome.statistics[1.0], references, edits)
    scores = flatten_scores(estimates)
    for name, value in outcome.losses.items():
        scores[f"spfem.{row}.{name}"] = value

    seconds = time.monotonic() - begin
    code = join_codes(code, study_code().sum)
    write_json(path, {"scores": scores, "seconds": round(seconds, 1), "code": code})


def _scores_of(row: str) -> tuple[str, ...]:
    """Return the names of a row's scores; a rendered edit has no scores of the picture."""
    if row.startswith("rendered."):
        return tuple(name for name in TABLE_SCORES if name not in PICTURE_SCORES)

    return TABLE_SCORES


def _source_readings(row: str, folder: Path, references: References) -> list[ClipReading]:
    """Return the readings of the sources at intensity scale 0: rendered again for `rendered`."""
    if row.startswith("rendered."):
        return load_references(shared_path(folder, "tracked")).source

    return references.source


def _untrained_statistics(
    row: str, folder: Path, edits: TrueEdits, references: References
) -> Statistics:
    """Return the statistics of a row that trains no editor."""
    scores = _scores_of(row)
    if row == "image.copy_source":
        return edit_statistics(edits.source, edits, references, Judges(), row, scores)
    if row == "rendered.expected":
        return edit_statistics(ExpectedEdits(edits), edits, references, Judges(), row, scores)

    if row == "rendered.tracked":
        readings = _source_readings(row, folder, references)
        return statistics_from_readings(readings, edits, references, scores)

    if row == "curves.truth":
        return statistics_from_readings(references.truth, edits, references, CURVE_SCORES)

    source_curves = collect(references.source, "mouth_curves")
    predicted = predict_curves(edits, source_curves, shared_path(folder, "curves"))
    readings = [ClipReading(curves) for curves in predicted]

    return statistics_from_readings(readings, edits, references, CURVE_SCORES)


def _train_and_sweep(
    work: Path, config: StudyConfig, row: str, seed: int, edits: TrueEdits, references: References
) -> Outcome:
    """Train a row and score its edits at every intensity scale, 0 and 1 among them."""
    judges = Judges()
    begin = time.monotonic()

    editor = row.partition(".")[0]
    make_edit, losses = EDITORS[editor](work, config, row, seed, edits)
    losses["seconds"] = time.monotonic() - begin

    def make_plain(edit: int) -> np.ndarray:
        return make_edit(edit, 1.0)

    plain = edit_statistics(make_plain, edits, references, judges, row, _scores_of(row))
    readings = _source_readings(row, edit_folder(work, config), references)
    source = statistics_from_readings(readings, edits, references)

    scales = intensity_scales(config, row)
    curve = sweep_intensity(source, plain, scales, make_edit, edits, references, judges, row)

    return Outcome(dict(zip([0.0, *scales], curve, strict=True)), losses)


def intensity_scales(config: StudyConfig, row: str) -> list[float]:
    """Return the intensity scales at which a row is scored.

    Args:
        config: the study's settings.
        row: as in `EDIT`; an opponent's frontier reaches further. Of the sealed set, what the
            choosing set chose, and 1.
    """
    family = EDIT[row].family
    if config.split == SEALED and family:
        chosen = read_chosen()[family].get(row, [])
        return sorted({1.0, *chosen})
    if EDIT[row].teacher:
        return parse_intensity_scales(config.frontier_sweep, LARGEST_FRONTIER_SCALE)
    return parse_intensity_scales(config.edit_sweep)


def _write_statistics(path: Path, statistics: dict[float, Statistics]) -> None:
    """Write statistics as arrays called SCALE/SCORE, see `read_statistics`."""
    arrays: dict[str, Any] = {}
    for scale, scores in statistics.items():
        for name, rows in scores.items():
            arrays[f"{scale:g}/{name}"] = rows

    with atomic_path(path) as partial, open(partial, "wb") as file:
        np.savez_compressed(file, **arrays)


def _is_scale(text: str) -> bool:
    """Whether a text is an intensity scale, as 0.5."""
    return text.isascii() and text.replace(".", "", 1).isdigit()


def read_statistics(folder: Path, row: str, seed: int) -> dict[float, Statistics]:
    """Read the statistics of one job, {scale: {score: (E, M)}}.

    Args:
        folder: of `edit_folder`.
        row: as in `EDIT`.
        seed: of the training.
    """
    path = edit_job_path(folder, row, seed).with_suffix(".npz")
    statistics: dict[float, Statistics] = {}
    for key, values in read_arrays(path).items():
        scale_text, _, score = key.partition("/")
        if not score or not _is_scale(scale_text):
            raise damaged(path, f"{key[:40]!r} is no SCALE/SCORE")
        of_scale = statistics.setdefault(float(scale_text), {})
        of_scale[score] = values
    if 1.0 not in statistics:
        raise damaged(path, "it has no scores at intensity scale 1")

    derived = {}
    for scale, scores in statistics.items():
        derived[scale] = with_derived_scores(scores)

    return derived
