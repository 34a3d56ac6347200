"""Notebook 05: the generator with guidance and without, its edits and their videos."""

from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from cdrl.core.files import read_json, write_json
from cdrl.core.settings import stage_folder
from cdrl.corpora import samples
from cdrl.corpora.adapters import crema_d_labels
from cdrl.corpora.store import Store
from cdrl.editing.pipeline import edit_clip, edit_video
from cdrl.editing.requests import load_requests
from cdrl.editors.constant import fit_constant
from cdrl.editors.image import WindowGuidance, fit_person, train_image_editor
from cdrl.editors.loading import load_editor
from cdrl.evaluation.edit_tasks import Edits, TrueEdits
from cdrl.media import faces
from cdrl.media.encoding import write_video
from cdrl.media.video import read_video
from cdrl.models.image_editor import WORKING_SIZE, ImageEditor
from cdrl.representation.guidance import Guidance
from cdrl.stages.s00_corpus import has_truth
from cdrl.stages.s01_priors import open_features
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
        generator, history = train_image_editor(
            store,
            WindowGuidance(guidance),
            config,
            variant,
            out / variant,
            config.start or None,
            run=run,
        )
        last = history.tail(5).mean()
        scores |= {
            f"spfem.image.{variant}.loss.{name}": float(last[name])
            for name in ("content", "emotion", "reconstruction", "cycle")
        }
        if not (out / variant / "outputs.npy").exists():
            edit_all(edits, generator, out / variant / "outputs.npy")
    write_videos(run, config.videos)
    edit_real(run, config, generator, guidance)
    return scores


def edit_real(run: Path, config, generator: ImageEditor, guidance: Guidance) -> Path:
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
        alone = edit_video(clips["neutral"], "happy", run / "videos" / "alone.mp4", editor=fitted)
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
                generator,
                edits.source(k),
                edits.target_emotions[k],
                edits.intensity(k),
                edits.frame_rate(k),
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
    report, wanted = edits.report.clips, edits.requests.clips
    rows, chosen = [], np.linspace(0, len(edits) - 1, min(columns, len(edits))).astype(int)
    for k in chosen:
        middle = int(wanted.num_frames.iloc[k]) // 2
        made = [values[edits.requests.frames(k).start + middle] for values in outputs.values()]
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
        return write_real_videos(run, number)
    edits = edits_of(run, WORKING_SIZE)
    report, wanted, sources = edits.report, edits.requests, edits.sources
    generator = load_editor(stage_folder(run, "generator") / "cdrl")
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
            studio.render_performance(spec, performance, 256)[0],
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


def write_real_videos(run: Path, number: int) -> None:
    """Source and edit side by side, full frames with the source's sound: `RUN/videos/real-corpus-*.mp4`."""
    report, wanted, sources = load_requests(run)
    generator = load_editor(stage_folder(run, "generator") / "cdrl")
    (run / "videos").mkdir(exist_ok=True)
    captions = {}
    for k in np.unique(np.linspace(0, len(sources) - 1, min(number, len(sources))).astype(int)):
        row, source = wanted.clips.iloc[k], report.clips.iloc[sources[k]]
        path = run / "videos" / f"edit-{source['name']}-to-{row.emotion}-{row.intensity}.mp4"
        captions[path.name] = (
            f"{source.emotion} to {row.emotion}, level {row.intensity}: source, edit"
        )
        if path.exists():
            continue
        rate = float(source.frame_rate)
        frames = read_video(Path(source.media), rate, require_audio=False).frames
        alignment = faces.align(frames, name=source["name"], crop=report.crop)
        edited = edit_clip(
            generator, faces.crop(frames, alignment, 224), row.emotion, row.intensity / 3, rate
        )
        shown = np.concatenate([frames, faces.paste(frames, edited, alignment)], 2)
        write_video(
            path,
            shown,
            rate,
            report.sound(int(sources[k])),
            {"comment": f"synthetic: {captions[path.name]}"},
        )
    write_json(run / "videos" / "captions.json", captions)
