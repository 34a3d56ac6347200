"""Notebooks 05 and 06: the generator with guidance and without, its videos, and its scores against the true edits."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from cdrl.core.files import read_json, write_json
from cdrl.core.paths import repository_root
from cdrl.core.results import RESULTS, all_scores
from cdrl.core.settings import stage_folder
from cdrl.corpora import samples
from cdrl.corpora.adapters import crema_d_labels
from cdrl.corpora.store import Store
from cdrl.editing.pipeline import edit_clip, edit_video, load_generator
from cdrl.editing.requests import load_requests
from cdrl.editors.actions import RENDERER, ActionEditor
from cdrl.editors.constant import fit_constant
from cdrl.editors.image import fit_person, train_generator
from cdrl.evaluation import edit_scores, estimate
from cdrl.evaluation.edit_comparison import difference_rows, measure_of
from cdrl.evaluation.edit_evaluation import (
    LISTED,
    Edits,
    TrueEdits,
    curve_rows,
    dials_of,
    equal_accuracy_rows,
    lip_sync_measures,
    read_references,
    resized,
    statistics,
    sweep,
    variant_rows,
)
from cdrl.evaluation.judges import Judges
from cdrl.evaluation.set_scores import SetReader, published_scores, read_originals
from cdrl.media import faces
from cdrl.media.encoding import write_video
from cdrl.media.video import read_video
from cdrl.models.image_editor import WORKING_SIZE, Generator
from cdrl.representation.guidance import Guidance, load_encoder
from cdrl.stages.notes import has_truth, write_notes
from cdrl.stages.s00_corpus import open_features
from cdrl.studio import corpus as studio
from cdrl.studio.acting import act

TRAINED = ("baseline", "cdrl")  # what a run trains; the other variants are the study's


def generate(run: Path, config, out: Path) -> dict:
    """Notebook 05: fit the constant edit, train the host with CDRL and without, make every edit, write videos with sound.

    Returns:
        spfem.image.VARIANT.loss.*: the last values of the terms; spfem.image.constant.left.*: see `fit_constant`.
    """
    host = (
        stage_folder(run, "corpus") / "host"
    )  # of a split that gives the generator clips of its own
    store = Store(host) if (host / "store.json").exists() else open_features(run, "train").store
    guidance = Guidance(run)
    scores = {}
    edits = edits_of(run, config.size)
    if isinstance(edits, TrueEdits) and not (out / "constant" / "outputs.npy").exists():
        constant, left = fit_constant(store)
        write_json(out / "constant" / "left.json", left)
        edit_all(edits, constant, out / "constant" / "outputs.npy")
    if isinstance(edits, TrueEdits):
        scores |= {
            f"spfem.image.constant.left.{name}": value
            for name, value in read_json(out / "constant" / "left.json").items()
        }
    for variant in TRAINED:
        generator, history = train_generator(
            store, guidance, config, variant, out / variant, config.start or None
        )
        last = history.tail(5).mean()
        scores |= {
            f"spfem.image.{variant}.loss.{name}": float(last[name])
            for name in ("content", "emotion", "reconstruction", "cycle")
        }
        if not (out / variant / "outputs.npy").exists():
            edit_all(edits, generator, out / variant / "outputs.npy")
    write_videos(run, config.videos)
    generator.crop = store.crop
    edit_real(run, config, generator, guidance)
    return scores


def edit_real(run: Path, config, generator: Generator, guidance: Guidance) -> Path:
    """A real person made happy: the generator fitted to his other clips, never to his happy one, which stands beside the result.

    Returns:
        `RUN/videos/real-*.mp4`: source, edit, and his own happy clip (other timing: it is no true edit).
    """
    path = run / "videos" / "real-1001-neutral-to-happy.mp4"
    clips = {crema_d_labels(p)["emotion"]: p for p in samples.sample_paths()}
    if not path.exists():
        store = open_features(run, "real").store
        fitted, _ = fit_person(
            generator, store, guidance, ("happy",), ("happy",), config.fit_steps, seed=config.seed
        )
        alone = edit_video(
            clips["neutral"], "happy", run / "videos" / "alone.mp4", generator=fitted
        )
        shown = [read_video(p).frames for p in (clips["neutral"], alone, clips["happy"])]
        length = len(shown[0])
        shown = [frames[np.minimum(np.arange(length), len(frames) - 1)] for frames in shown]
        note = {
            "comment": "synthetic: CREMA-D 1001 edited to happy; left source, middle edit, right his own happy clip"
        }
        write_video(path, np.concatenate(shown, 2), 25.0, read_video(clips["neutral"]).audio, note)
        alone.unlink()
    captions = read_json(run / "videos" / "captions.json")
    text = "CREMA-D 1001 (ODbL): source, edit to happy fitted without his happy clip, and that clip (its own timing)"
    write_json(run / "videos" / "captions.json", captions | {path.name: text})
    return path


def edits_of(run: Path, size: int) -> Edits:
    """What is edited into what, as crops of `size` pixels: with the true edits, or of a real corpus what is asked for."""
    if not has_truth(run):
        return Edits(*load_requests(run), size)
    return TrueEdits(
        *(Store(stage_folder(run, "corpus") / name) for name in ("report", "edits")), size
    )


def edit_all(edits: Edits, generator, out: Path) -> None:
    """Make every edit at the level asked for and keep the crops of all, (N, S, S, 3) uint8."""
    found = []
    for k in tqdm(range(len(edits)), desc="edits", mininterval=2):
        found.append(
            edit_clip(
                generator, edits.source(k), edits.target[k], edits.intensity(k), edits.frame_rate(k)
            )
        )
    np.save(out.with_suffix(".partial.npy"), np.concatenate(found))
    out.with_suffix(".partial.npy").replace(out)


def edit_grid(run: Path, columns: int) -> tuple[np.ndarray, list[str]]:
    """(4, columns, S, S, 3) middle frames: source, baseline, cdrl and, where there is one, true edit; and a text per column."""
    outputs = {
        name: np.load(stage_folder(run, "generator") / name / "outputs.npy", mmap_mode="r")
        for name in ("baseline", "cdrl")
    }
    edits = edits_of(run, outputs["cdrl"].shape[1])
    report, wanted = edits.report.clips, edits.wanted.clips
    rows, chosen = [], np.linspace(0, len(edits) - 1, min(columns, len(edits))).astype(int)
    for k in chosen:
        middle = int(wanted.num_frames.iloc[k]) // 2
        made = [values[edits.wanted.frames(k).start + middle] for values in outputs.values()]
        true = [edits.truth(k)[middle]] if isinstance(edits, TrueEdits) else []
        rows.append([edits.source(k)[middle], *made, *true])
    texts = [
        f"{report.emotion[edits.sources[k]]} → {wanted.emotion.iloc[k]} {wanted.intensity.iloc[k]}"
        for k in chosen
    ]
    return np.array(rows).swapaxes(0, 1), texts


def write_videos(run: Path, number: int) -> None:
    """Source, edit and true edit side by side, full frames with the source's sound: `RUN/videos/*.mp4`."""
    if not has_truth(run):
        from cdrl.stages.s06_real_edits import write_real_videos

        return write_real_videos(run, number)
    edits = edits_of(run, WORKING_SIZE)
    report, wanted, sources = edits.report, edits.wanted, edits.sources
    generator = load_encoder(Generator, stage_folder(run, "generator") / "cdrl")
    (run / "videos").mkdir(exist_ok=True)
    captions = {}
    for k in np.linspace(0, len(sources) - 1, number).astype(int):
        row, name = wanted.clips.iloc[k], report.clips.name[sources[k]]
        path = run / "videos" / f"{name}-to-{row.emotion}-{row.intensity}.mp4"
        captions[path.name] = (
            f"{report.clips.emotion[sources[k]]} to {row.emotion}, level {row.intensity}: source, edit, true edit"
        )
        if path.exists():
            continue
        spec = studio.spec_of(name)
        performance = act(spec)
        frames, truth = (
            studio.picture(spec, performance, 256)[0],
            studio.render_edit(spec, row.emotion, row.intensity, 256),
        )
        alignment = faces.align(frames, name=name, crop=report.crop)
        edited = edit_clip(
            generator, faces.crop(frames, alignment, 224), row.emotion, row.intensity / 3
        )
        shown = np.concatenate([frames, faces.paste(frames, edited, alignment), truth], 2)
        write_video(
            path, shown, 25.0, performance.audio, {"comment": f"synthetic: {captions[path.name]}"}
        )
    write_json(run / "videos" / "captions.json", captions)


def evaluate(run: Path, config, out: Path) -> dict:
    """Notebook 06: the edits against the true edits, by networks that supervised nothing.

    Returns:
        spfem.image.{copy_source,constant,baseline,cdrl}.*: as SCORES defines them, with intervals over speakers;
        spfem.image.cdrl_minus_baseline.*: paired over clips, and the mouth at equal emotion accuracy; spfem.image.cdrl.fps, and
        spfem.drawn.cdrl.fps of the committed edit by facial actions. On a corpus without true edits the scores of `evaluate_real`.
    """
    if not has_truth(run):
        from cdrl.stages.s06_real_edits import evaluate_real

        return evaluate_real(run, config, out)
    folder = stage_folder(run, "generator")
    outputs = {
        name: np.load(folder / name / "outputs.npy", mmap_mode="r")
        for name in ("constant", *TRAINED)
    }
    edits, judges = edits_of(run, outputs["cdrl"].shape[1]), Judges()
    references = read_references(edits, judges, config.seed)
    found = {"copy_source": statistics(edits.source, edits, references, judges, "copy_source")}
    for name, values in outputs.items():
        found[name] = statistics(
            lambda k, v=values: np.asarray(v[edits.wanted.frames(k)]),
            edits,
            references,
            judges,
            name,
        )
    rows, lines, sets = {}, [], SetReader(judges, config)
    clips_ = range(len(edits.report.clips)) if sets.published else ()
    originals = read_originals(
        (resized(edits.report.face[edits.report.frames(clip)], edits.size) for clip in clips_), sets
    )
    for name, sums in found.items():
        rows |= variant_rows(f"spfem.image.{name}", sums, references, edits, config.seed)
        shown = (
            edits.source
            if name == "copy_source"
            else lambda k, v=outputs[name]: np.asarray(v[edits.wanted.frames(k)])
        )
        heard = lip_sync_measures(shown, edits, config.syncnet, name)
        rows |= edit_scores.edit_rows(
            f"spfem.image.{name}", heard, edits.speakers, edits.target, config.seed
        )
        if sets.published:
            more, few = published_scores(f"spfem.image.{name}", shown, edits, sets, originals)
            rows, lines = rows | more, lines + few
    if lines:
        write_notes(out, list(dict.fromkeys(lines)))
    measured = {
        name: {score: measure_of(score, values) for score, values in found[name].items()}
        for name in TRAINED
    }
    clips, prefix = np.arange(len(edits)), "spfem.image.cdrl_minus_baseline"
    rows |= difference_rows(
        prefix, measured["cdrl"], measured["baseline"], clips, edits.target, config.seed
    )
    dials, curves = dials_of(config.sweep), {}
    for name in TRAINED:
        generator = load_encoder(Generator, folder / name)
        made = lambda k, dial, g=generator: edit_clip(
            g, edits.source(k), edits.target[k], edits.intensity(k, dial)
        )  # noqa: E731
        curves[name] = sweep(
            found["copy_source"], found[name], dials, made, edits, references, judges, name
        )
        rows |= curve_rows(f"spfem.image.{name}", [0.0, *dials], curves[name])
    rows |= equal_accuracy_rows(prefix, [curves["cdrl"]], [curves["baseline"]], clips, config.seed)
    timed = {"image": load_encoder(Generator, folder / "cdrl")}
    timed |= {"drawn": load_generator(RENDERER)} if edits.report.crop == "aligned" else {}
    speeds = {
        f"spfem.{host}.cdrl.fps": edit_speed(generator, edits.report, edits.sources[0])
        for host, generator in timed.items()
    }
    return estimate.lines(rows) | speeds


def edit_speed(generator: Generator | ActionEditor, report: Store, clip: int) -> float:
    """Frames a second of the whole edit of one 128 px clip: face found, cropped, edited, put back (files not counted)."""
    name = report.clips.name[clip]
    spec = studio.spec_of(name)
    frames, _ = studio.picture(spec, act(spec), 128)
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
                for n in LISTED
                if f"spfem.{host}.{v}.{n}" in scores
            }
            for v in variants
        }
    )


def dial_curves(scores: dict, variants: list[str], host: str = "image") -> dict:
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
