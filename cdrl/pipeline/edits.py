"""Notebooks 05 and 06: the generator with guidance and without, its videos, and its scores against the true edits."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from cdrl.config import stage_folder
from cdrl.data import faces, samples
from cdrl.data.corpora import crema_d_labels
from cdrl.data.encoding import write_video
from cdrl.data.media import read_video
from cdrl.data.store import Store
from cdrl.data.studio import corpus as studio
from cdrl.data.studio import edits
from cdrl.data.studio.acting import act
from cdrl.data.studio.render import LANDMARKS
from cdrl.evaluation import edit_scores
from cdrl.evaluation.networks import Judges
from cdrl.generation.edit import edit_clip, edit_video
from cdrl.guidance import Guidance, load_encoder
from cdrl.models.generator import Generator
from cdrl.pipeline.asked import read_asked
from cdrl.pipeline.corpora import open_features
from cdrl.pipeline.said import has_truth
from cdrl.probing import bootstrap
from cdrl.stage import read_json, write_json
from cdrl.training.generator import fit_person, train_generator
from cdrl.vocabulary import SCORED_EMOTIONS


def generate(run: Path, config, out: Path) -> dict:
    """Notebook 05: train the host with CDRL and without, edit every source of the evaluation, write videos with sound.

    Returns:
        spfem.image.VARIANT.loss.*: the last values of the terms.
    """
    host = stage_folder(run, "corpus") / "host"  # of a split that gives the generator clips of its own
    store = Store(host) if (host / "store.json").exists() else open_features(run, "train").store
    guidance = Guidance(run)
    scores = {}
    for variant in ("baseline", "cdrl"):
        generator, history = train_generator(store, guidance, config, variant, out / variant, config.start or None)
        last = history.tail(5).mean()
        scores |= {f"spfem.image.{variant}.loss.{name}": float(last[name]) for name in ("content", "emotion", "reconstruction", "cycle")}
        if not (out / variant / "outputs.npy").exists():
            _edit_all(run, generator, config.size, out / variant / "outputs.npy")
    write_videos(run, config.videos)
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
        fitted, _ = fit_person(generator, store, guidance, ("happy",), ("happy",), config.fit_steps, seed=config.seed)
        alone = edit_video(clips["neutral"], "happy", run / "videos" / "alone.mp4", generator=fitted)
        shown = [read_video(p).frames for p in (clips["neutral"], alone, clips["happy"])]
        length = len(shown[0])
        shown = [frames[np.minimum(np.arange(length), len(frames) - 1)] for frames in shown]
        note = {"comment": "synthetic: CREMA-D 1001 edited to happy; left source, middle edit, right his own happy clip"}
        write_video(path, np.concatenate(shown, 2), 25.0, read_video(clips["neutral"]).audio, note)
        alone.unlink()
    captions = read_json(run / "videos" / "captions.json")
    text = "CREMA-D 1001 (ODbL): source, edit to happy fitted without his happy clip, and that clip (its own timing)"
    write_json(run / "videos" / "captions.json", captions | {path.name: text})
    return path


def sources_of_edits(run: Path) -> tuple[Store, Store, np.ndarray]:
    """The reporting store, the true edits (of a real corpus: what is asked for), and (E,) the source clip of each."""
    if not has_truth(run):
        return read_asked(run)
    report, wanted = (Store(stage_folder(run, "corpus") / name) for name in ("report", "edits"))
    number = {name: k for k, name in enumerate(report.clips.name)}
    return report, wanted, np.array([number[edits.source_of(name)] for name in wanted.clips.name])


def _edit_all(run: Path, generator: Generator, size: int, out: Path) -> None:
    report, wanted, sources = sources_of_edits(run)
    found = []
    for k, source in enumerate(tqdm(sources, desc="edits", mininterval=2)):
        crops = _resized(report.face[report.frames(source)], size)
        row = wanted.clips.iloc[k]
        found.append(edit_clip(generator, crops, row.emotion, row.intensity / 3, float(report.clips.frame_rate[source])))
    np.save(out.with_suffix(".partial.npy"), np.concatenate(found))
    out.with_suffix(".partial.npy").replace(out)


def _resized(crops: np.ndarray, size: int) -> np.ndarray:
    """(T, C, C, 3) uint8 -> (T, size, size, 3) uint8, antialiased."""
    frames = torch.from_numpy(np.ascontiguousarray(crops)).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.interpolate(frames, (size, size), mode="bilinear", antialias=True, align_corners=False)
    return small.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def edit_grid(run: Path, columns: int) -> tuple[np.ndarray, list[str]]:
    """(4, columns, S, S, 3) middle frames: source, baseline, cdrl and, where there is one, true edit; and a text per column."""
    report, wanted, sources = sources_of_edits(run)
    columns = min(columns, len(sources))
    chosen = np.linspace(0, len(sources) - 1, columns).astype(int)
    outputs = {name: np.load(stage_folder(run, "generator") / name / "outputs.npy", mmap_mode="r") for name in ("baseline", "cdrl")}
    size = outputs["cdrl"].shape[1]
    rows = {"source": [], "baseline": [], "cdrl": [], "truth": []}
    for k in chosen:
        middle = wanted.frames(k).start + wanted.clips.num_frames[k] // 2
        own = report.frames(sources[k]).start + wanted.clips.num_frames[k] // 2
        rows["source"].append(_resized(report.face[own : own + 1], size)[0])
        if has_truth(run):
            rows["truth"].append(_resized(wanted.face[middle : middle + 1], size)[0])
        for name, values in outputs.items():
            rows[name].append(values[middle])
    texts = [f"{report.clips.emotion[sources[k]]} → {wanted.clips.emotion[k]} {wanted.clips.intensity[k]}" for k in chosen]
    return np.array([pictures for pictures in rows.values() if pictures]), texts


def write_videos(run: Path, number: int) -> None:
    """Source, edit and true edit side by side, full frames with the source's sound: `RUN/videos/*.mp4`."""
    if not has_truth(run):
        from cdrl.pipeline.real_edits import write_real_videos

        return write_real_videos(run, number)
    report, wanted, sources = sources_of_edits(run)
    generator = load_encoder(Generator, stage_folder(run, "generator") / "cdrl")
    (run / "videos").mkdir(exist_ok=True)
    captions = {}
    for k in np.linspace(0, len(sources) - 1, number).astype(int):
        row, name = wanted.clips.iloc[k], report.clips.name[sources[k]]
        path = run / "videos" / f"{name}-to-{row.emotion}-{row.intensity}.mp4"
        captions[path.name] = f"{report.clips.emotion[sources[k]]} to {row.emotion}, level {row.intensity}: source, edit, true edit"
        if path.exists():
            continue
        spec = studio.spec_of(name)
        performance = act(spec)
        frames, truth = studio.picture(spec, performance, 256)[0], studio.render_edit(spec, row.emotion, row.intensity, 256)
        alignment = faces.align(frames, name=name)
        edited = edit_clip(generator, faces.crop(frames, alignment, 224), row.emotion, row.intensity / 3)
        shown = np.concatenate([frames, faces.paste(frames, edited, alignment), truth], 2)
        write_video(path, shown, 25.0, performance.audio, {"comment": f"synthetic: {captions[path.name]}"})
    write_json(run / "videos" / "captions.json", captions)


def evaluate(run: Path, config, out: Path) -> dict:
    """Notebook 06: the edits against the true edits, by networks that supervised nothing.

    Returns:
        spfem.image.{copy_source,baseline,cdrl}.*: as SCORES defines them, with intervals over speakers; on a corpus without
        true edits those of `evaluate_real`.
    """
    if not has_truth(run):
        from cdrl.pipeline.real_edits import evaluate_real

        return evaluate_real(run, config, out)
    report, wanted, sources = sources_of_edits(run)
    size = np.load(stage_folder(run, "generator") / "cdrl" / "outputs.npy", mmap_mode="r").shape[1]
    judges = Judges()
    readings = {"source": [], "truth": [], "another": []}
    random = np.random.default_rng([config.seed, 6])
    clips = {"copy_source": [], "truth": []} | {name: [] for name in ("baseline", "cdrl")}
    outputs = {name: np.load(stage_folder(run, "generator") / name / "outputs.npy", mmap_mode="r") for name in ("baseline", "cdrl")}
    read = {name: [] for name in clips}
    for k, source in enumerate(tqdm(sources, desc="judging", mininterval=2)):
        frames = {
            "copy_source": _resized(report.face[report.frames(source)], size), "truth": _resized(wanted.face[wanted.frames(k)], size),
            **{name: np.asarray(values[wanted.frames(k)]) for name, values in outputs.items()},
        }  # fmt: skip
        for name, values in frames.items():
            read[name].append(read_clip(judges, values))
            clips[name].append(values)
        others = np.flatnonzero((report.clips.speaker == report.clips.speaker[source]) & (report.clips.index != source))
        other = report.frames(int(random.choice(others)))
        readings["another"].append(judges.identity(_tensor(_resized(report.face[other][::8], size))).mean(0))
    speakers, target = wanted.clips.speaker.to_numpy(), wanted.clips.emotion.to_numpy()
    rows = {}
    for name in ("copy_source", "baseline", "cdrl"):
        rows |= variant_rows(f"spfem.image.{name}", name, read, clips, wanted, np.array(readings["another"]), speakers, target, config.seed)
    return bootstrap.lines(rows) | {"spfem.image.cdrl.fps": edit_speed(run, report.clips.name[sources[0]])}


def edit_speed(run: Path, name: str) -> float:
    """Frames a second of the whole edit of one 128 px clip: face found, cropped, edited, put back (files not counted)."""
    spec = studio.spec_of(name)
    frames, _ = studio.picture(spec, act(spec), 128)
    generator = load_encoder(Generator, stage_folder(run, "generator") / "cdrl")
    start = time.perf_counter()
    alignment = faces.align(frames, name=name)
    edited = edit_clip(generator, faces.crop(frames, alignment, 96), "happy" if spec.emotion != "happy" else "sad")
    faces.paste(frames, edited, alignment)
    return len(frames) / (time.perf_counter() - start)


def _tensor(frames: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2).float() / 255


def read_clip(judges: Judges, frames: np.ndarray) -> dict:
    """What the four networks say of a clip's crops (T, S, S, 3) uint8."""
    images = _tensor(frames)
    coefficients, landmarks = judges.track(images)
    return {
        "curves": edit_scores.mouth_curves(coefficients), "landmarks": landmarks, "identity": judges.identity(images).mean(0),
        **{name: SCORED_EMOTIONS[int(judges.emotion(name, images).argmax())] for name in ("judge_a", "judge_b")},
    }  # fmt: skip


def variant_rows(prefix, name, read, clips, wanted, another, speakers, target, seed) -> dict:
    """All rows of one variant, see `cdrl.evaluation.edit_scores`."""
    mine, truth, source = read[name], read["truth"], read["copy_source"]
    mouth = [k for k, point in enumerate(LANDMARKS) if "lip" in point or "mouth" in point]
    boxes = [edit_scores.mouth_box(wanted.truth["landmarks"][wanted.frames(k)][:, mouth].astype(np.float32)) for k in range(len(mine))]
    pick = lambda readings, key: [reading[key] for reading in readings]  # noqa: E731
    measures = {
        "mouth_error": edit_scores.mouth_error(pick(mine, "curves"), pick(truth, "curves")),
        "mouth_correlation": edit_scores.mouth_correlation(pick(mine, "curves"), pick(truth, "curves")),
        "speech_correlation": edit_scores.speech_correlation(pick(mine, "curves"), pick(source, "curves")),
        "psnr": bootstrap.mean_of([edit_scores.psnr(a, b) for a, b in zip(clips[name], clips["truth"], strict=True)]),
        "mouth_l1": bootstrap.mean_of([edit_scores.mouth_l1(a, b, c) for a, b, c in zip(clips[name], clips["truth"], boxes, strict=True)]),
        "identity": edit_scores.identity(*(np.array(pick(r, "identity")) for r in (mine, truth)), another, speakers),
        "jitter": edit_scores.jitter(pick(mine, "landmarks"), pick(source, "landmarks")),
    }
    rows = edit_scores.edit_rows(prefix, measures, speakers, target, seed)
    heard = [tuple(np.array(pick(r, judge)) for judge in ("judge_a", "judge_b")) for r in (mine, truth)]
    return rows | edit_scores.emotion_rows(prefix, *heard, target, speakers, seed)


def variant_table(scores: dict, variants: list[str]) -> pd.DataFrame:
    """One row per score, one column per variant, rounded to four digits."""
    names = ("emotion_accuracy", "mouth_error", "mouth_correlation", "speech_correlation", "psnr", "mouth_l1", "identity", "jitter")
    names = [n for n in names if all(f"spfem.image.{v}.{n}" in scores for v in variants)]
    return pd.DataFrame({v: {n: scores[f"spfem.image.{v}.{n}"] for n in names} for v in variants}).round(4)
