"""Notebook 06: scores of the edits, against the true edits or, on a corpus without them, against their sources."""

import time
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from cdrl.core.files import read_json
from cdrl.core.paths import repository_root
from cdrl.core.results import RESULTS, all_scores
from cdrl.core.settings import stage_folder
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.corpora.store import Store
from cdrl.editing.pipeline import edit_clip, load_editor
from cdrl.editing.requests import load_requests
from cdrl.editors.actions import RENDERER, ActionEditor
from cdrl.evaluation import edit_scores, estimate
from cdrl.evaluation.edit_comparison import difference_rows, measure_of
from cdrl.evaluation.edit_evaluation import (
    LISTED,
    Edits,
    curve_rows,
    dials_of,
    equal_accuracy_rows,
    lip_sync_measures,
    read_clip,
    read_references,
    resized,
    statistics,
    sweep,
    variant_rows,
)
from cdrl.evaluation.judges import Judges
from cdrl.evaluation.set_scores import (
    KIT,
    PUBLISHED,
    SetReader,
    published_scores,
    read_originals,
    set_scores,
)
from cdrl.media import faces
from cdrl.models.image_editor import ImageEditor
from cdrl.representation.guidance import load_encoder
from cdrl.stages.notes import write_notes
from cdrl.stages.s00_corpus import has_truth
from cdrl.stages.s05_generate import TRAINED, edits_of
from cdrl.studio import corpus as studio
from cdrl.studio.acting import act

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


def evaluate(run: Path, config, out: Path) -> dict:
    """Notebook 06: the edits against the true edits, by networks that supervised nothing.

    Returns:
        spfem.image.{copy_source,constant,baseline,cdrl}.*: as SCORES defines them, with intervals over speakers;
        spfem.image.cdrl_minus_baseline.*: paired over clips, and the mouth at equal emotion accuracy; spfem.image.cdrl.fps, and
        spfem.drawn.cdrl.fps of the committed edit by facial actions. On a corpus without true edits the scores of `evaluate_real`.
    """
    if not has_truth(run):
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
        generator = load_encoder(ImageEditor, folder / name)
        made = lambda k, dial, g=generator: edit_clip(
            g, edits.source(k), edits.target[k], edits.intensity(k, dial)
        )  # noqa: E731
        curves[name] = sweep(
            found["copy_source"], found[name], dials, made, edits, references, judges, name
        )
        rows |= curve_rows(f"spfem.image.{name}", [0.0, *dials], curves[name])
    rows |= equal_accuracy_rows(prefix, [curves["cdrl"]], [curves["baseline"]], clips, config.seed)
    timed = {"image": load_encoder(ImageEditor, folder / "cdrl")}
    timed |= {"drawn": load_editor(RENDERER)} if edits.report.crop == "aligned" else {}
    speeds = {
        f"spfem.{host}.cdrl.fps": edit_speed(generator, edits.report, edits.sources[0])
        for host, generator in timed.items()
    }
    return estimate.lines(rows) | speeds


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


def edit_speed(generator: ImageEditor | ActionEditor, report: Store, clip: int) -> float:
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
