"""Notebooks 05 and 06 on a corpus without true edits: edits beside their sources, and scores that need no truth."""

from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from cdrl.core.files import write_json
from cdrl.core.settings import stage_folder
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.editing.pipeline import edit_clip
from cdrl.editing.requests import load_requests
from cdrl.evaluation import edit_scores, estimate
from cdrl.evaluation.edit_evaluation import Edits, lip_sync_measures, read_clip, resized
from cdrl.evaluation.judges import Judges
from cdrl.evaluation.set_scores import KIT, PUBLISHED, SetReader, set_scores
from cdrl.media import faces
from cdrl.media.encoding import write_video
from cdrl.media.video import read_video
from cdrl.models.image_editor import Generator
from cdrl.representation.guidance import load_encoder
from cdrl.stages.notes import write_notes

NOT_SCORED = (
    "left out mouth_error, mouth_correlation, psnr, mouth_l1: they compare with a true edit, and nobody acted the same moment twice",
    "emotion_accuracy: by two judges trained on rendered people, not calibrated on this corpus; `.sources` is what they read of the "
    "untouched clips' own labels",
    "identity: to the source clip, 1 as alike as it is to another clip of that person, 0 as a stranger of this corpus",
    "frechet.identity, similarity.judge_a: FAD and CSIM by the release's formulas on the kit's own networks, which do not compare with "
    "its tables",
    "the generator is asked by label and level: of a reference clip it takes those, not its frames",
)
# Setting that names a file -> what is left out without it.
NEEDED = {
    "syncnet": "left out lse_d, lse_c: they need SyncNet v2's weights: --set evaluate.syncnet=FOLDER/syncnet_v2.model",
    "arcface": "left out fad: it needs the ArcFace ResNet-18 of arcface-pytorch: --set evaluate.arcface=FOLDER/resnet18_110.pth",
    "efficient_face": "left out csim: it needs EfficientFace on AffectNet-7: "
    "--set evaluate.efficient_face=FOLDER/EfficientFace_Trained_on_AffectNet7.pth.tar",
}


def write_real_videos(run: Path, number: int) -> None:
    """Source and edit side by side, full frames with the source's sound: `RUN/videos/real-corpus-*.mp4`."""
    report, wanted, sources = load_requests(run)
    generator = load_encoder(Generator, stage_folder(run, "generator") / "cdrl")
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


def evaluate_real(run: Path, config, out: Path) -> dict:
    """Scores of the edits against their sources, by networks that supervised nothing.

    Returns:
        spfem.image.{copy_source,baseline,cdrl}.*: emotion_accuracy (by judges that are not calibrated here; `.sources` beside it),
        speech_correlation, jitter, identity; frechet.identity and similarity.judge_a, with one value per protocol; fad, csim, lse_d
        and lse_c where their networks' weights are named. `notes.json` says what is left out.
    """
    report, wanted, sources = load_requests(run)
    judges, variants = Judges(), ("copy_source", "baseline", "cdrl")
    sets = SetReader(judges, config)
    outputs = {
        name: np.load(stage_folder(run, "generator") / name / "outputs.npy", mmap_mode="r")
        for name in variants[1:]
    }
    size = outputs["cdrl"].shape[1]
    edits = Edits(report, wanted, sources, size)
    read, seen = {name: [] for name in variants}, {name: [] for name in variants}
    for k, source in enumerate(tqdm(sources, desc="judging", mininterval=2)):
        given = {"copy_source": resized(report.face[report.frames(source)], size)}
        given |= {name: np.asarray(values[wanted.frames(k)]) for name, values in outputs.items()}
        for name, values in given.items():
            read[name].append(read_clip(judges, values))
            seen[name].append(sets.read(values))
    clips = report.clips
    crops = (resized(report.face[report.frames(clip)], size) for clip in range(len(clips)))
    originals = [(read_clip(judges, frames), sets.read(frames)) for frames in crops]
    speakers, target = wanted.clips.speaker.to_numpy(), wanted.clips.emotion.to_numpy()
    rows, lines = (
        {},
        [*NOT_SCORED, *(line for name, line in NEEDED.items() if not getattr(config, name))],
    )
    if report.crop != "aligned":
        lines.append(
            "judges and tracker learnt on aligned crops; the faces of this run are cropped as the release did, so they read them worse"
        )
    others = _others(clips, sources, [found["identity"] for found, _ in originals])
    if others is None:
        lines.append("left out identity: it takes two people, with two clips each")
    own = clips.emotion.isin(SCORED_EMOTIONS).to_numpy()
    labels = clips.emotion.to_numpy()[own]
    scored = [found for (found, _), use in zip(originals, own, strict=True) if use]
    on_sources = [
        np.mean(np.array([found[judge] for found in scored]) == labels)
        for judge in ("judge_a", "judge_b")
    ]
    for name in variants:
        prefix, mine = f"spfem.image.{name}", read[name]
        measures = {
            "speech_correlation": edit_scores.speech_correlation(
                *([found["curves"] for found in r] for r in (mine, read["copy_source"]))
            ),
            "jitter": edit_scores.jitter(
                *([found["landmarks"] for found in r] for r in (mine, read["copy_source"]))
            ),
        }
        if others is not None:
            theirs = [
                np.array([found["identity"] for found in r]) for r in (mine, read["copy_source"])
            ]
            measures["identity"] = edit_scores.identity(*theirs, others, speakers)
        shown = (
            edits.source
            if name == "copy_source"
            else lambda k, v=outputs[name]: np.asarray(v[wanted.frames(k)])
        )
        measures |= lip_sync_measures(shown, edits, config.syncnet, name)
        heard = [np.array([found[judge] for found in mine]) for judge in ("judge_a", "judge_b")]
        measures["emotion_accuracy"] = edit_scores.emotion_accuracy(*heard, target)
        rows |= edit_scores.edit_rows(prefix, measures, speakers, target, config.seed)
        beside = {"chance": 1 / len(np.unique(target)), "sources": float(min(on_sources))}
        rows[f"{prefix}.emotion_accuracy"] |= beside | {
            f"judge_{k + 1}": float(np.mean(read_ == target)) for k, read_ in enumerate(heard)
        }
        found, few = set_scores(
            prefix,
            seen[name],
            wanted.clips,
            clips,
            [features for _, features in originals],
            KIT | PUBLISHED,
        )
        rows, lines = rows | found, lines + few
    write_notes(out, lines)
    return {name: value for name, value in estimate.lines(rows).items() if np.isfinite(value)}


def _others(clips, sources: np.ndarray, identity: list) -> np.ndarray | None:
    """(E, D) identity of another clip of each source's speaker; None where a speaker has no other clip or there is one speaker."""
    found = []
    for source in sources:
        same = np.flatnonzero((clips.speaker == clips.speaker[source]) & (clips.index != source))
        if not len(same):
            return None
        found.append(identity[same[source % len(same)]])
    return np.array(found) if clips.speaker.nunique() > 1 else None
