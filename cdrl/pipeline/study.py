"""The study: every row of the comparison, over several seeds, on the reporting set; resumable over days.

One job is one row and one seed; its scores lie in `WORK/jobs/`, and a finished job is never done again. `summary` reads them.
"""

import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from cdrl.config import ContentConfig, EmotionConfig, StudyConfig, config_hash, repository_root
from cdrl.data.store import Store
from cdrl.data.studio import corpus as studio
from cdrl.errors import InputError
from cdrl.models.content import ContentEncoder
from cdrl.pipeline.encoders import pair_scores
from cdrl.pipeline.probes import halved
from cdrl.priors.language import LanguagePrior
from cdrl.priors.store import Features, extract
from cdrl.probing import bootstrap, controls, dependence, leakage, retrieval, swap
from cdrl.probing.splits import frame_table
from cdrl.stage import read_json, write_json
from cdrl.training.content import embed_content, train_content
from cdrl.training.emotion import embed_emotion, train_emotion
from cdrl.training.pairs import PairSampler, chance_loss, find_pairs
from cdrl.training.released import embed_released, train_released_content, train_released_emotion
from cdrl.vocabulary import MOUTH_INDEX


@dataclass(frozen=True)
class Row:
    """One line of a table: what differs from the method as it should be.

    Attributes:
        change: settings of its stage. backbone: `actions`, or `identity` (never saw a coefficient). heard: the embedding takes
            audio. control: what the training was given instead (constant, noise, shuffled).
        kind: `trained`, `released`, `untrained` or `raw`. why: one line for the table.
    """

    why: str
    change: dict = None
    backbone: str = "actions"
    heard: bool = False
    control: str = ""
    kind: str = "trained"


CONTENT = {
    "cdrl": Row("the method"),
    "truth_pairs": Row("pairs aligned by the true phone times: an upper bound", {"alignment": "truth"}),
    "mfcc_pairs": Row("DTW on cepstra: no learnt audio prior for the pairs", {"alignment": "mfcc"}),
    "linear_pairs": Row("a linear time warp: no sound at all for the pairs", {"alignment": "linear"}),
    "one_sided": Row("negatives of the partner's clip alone", {"sides": "one"}),
    "image_only": Row("no audio query in training", {"wrong_image_weight": 0.0}),
    "audio_query": Row("audio query, wrong-image negatives, nothing else contrasted; probed under a random other sound",
                       {"contrast_weight": 0.0, "wrong_image_weight": 1.0}, heard=True),
    "no_sound": Row("the sound is no teacher", {"sound_weight": 0.0}),
    "no_offset": Row("no exchanged offsets", {"offset": 0.0}),
    "no_adversary": Row("no gradient reversal", {"emotion_weight": 0.0, "speaker_weight": 0.0}),
    "wide": Row("64 dimensions instead of 16", {"embedding": 64}),
    "short": Row("5 frames instead of 9", {"window": 5}),
    "identity": Row("backbones that saw speaker labels only", backbone="identity"),
    "released": Row("CCRL as released, our re-implementation; probed under a random other sound", heard=True, kind="released"),
    "raw": Row("the input features", kind="raw"),
    "raw_identity": Row("the input features of the backbones that saw speaker labels only", backbone="identity", kind="raw"),
    "control.untrained": Row("an encoder nobody trained", kind="untrained"),
    "control.shuffled": Row("positives drawn by lot", control="shuffled"),
    "control.constant": Row("trained and tested on one grey image", control="constant"),
    "control.noise": Row("trained and tested on noise images", control="noise"),
}  # fmt: skip
EMOTION = {
    "cdrl": Row("the method"),
    "wide": Row("no narrow place: 128 dimensions without noise", {"bottleneck": 128, "noise": 0.0}),
    "no_noise": Row("8 dimensions without noise", {"noise": 0.0}),
    "no_contrast": Row("prompts only, no emotion-augmented contrast", {"contrast_weight": 0.0}),
    "no_prior": Row("no prompts: contrast without the language prior", {"prior_weight": 0.0, "direction_weight": 0.0}),
    "no_adversary": Row("no gradient reversal", {"speaker_weight": 0.0}),
    "identity": Row("a backbone that saw speaker labels only", backbone="identity"),
    "released": Row("CERL as released, our re-implementation: the heads are dropped, CLIP's image features remain", kind="released"),
    "raw": Row("the input features", kind="raw"),
    "raw_identity": Row("the input features of a backbone that saw speaker labels only", backbone="identity", kind="raw"),
    "control.constant": Row("trained and tested on one grey image", control="constant"),
    "control.noise": Row("trained and tested on noise images", control="noise"),
}
TABLES = {"content": CONTENT, "emotion": EMOTION}
BACKBONES = {"actions": ("face_backbone", "mouth_backbone"), "identity": ("face_identity", "mouth_identity")}


def run_study(out: Path, work: Path, config: StudyConfig) -> dict:
    """Do every job that is missing and write `results.json`, `content.csv`, `emotion.csv` under `out`.

    Args:
        out: folder of the results, small, to be committed. work: folder of corpora, features and jobs; some 11 GB.

    Returns:
        The results, as `cdrl scores` reads them.

    Raises:
        InputError: where `work` was made with other settings.
    """
    out, work = Path(out), Path(work)
    made = work / "study.json"
    if made.exists() and read_json(made)["hash"] != config_hash(config):
        raise InputError(f"{work} was made with other settings ({read_json(made)['config']}): choose another --work or remove it")
    specs = corpora(config)
    write_json(made, {"hash": config_hash(config), "config": asdict(config)})
    begin = time.monotonic()
    for name, clips in specs.items():
        if not (work / name / "store.json").exists():
            studio.generate(clips, work / name, name, workers=config.workers)
        for backbone, vision in BACKBONES.items():
            extract(Store(work / name), work / f"{name}_{backbone}", vision=vision)
    jobs = [(kind, name, seed) for seed in range(config.seeds) for kind, rows in TABLES.items() for name, row in rows.items()
            if seed == 0 or row.kind in ("trained", "released", "untrained")]  # fmt: skip
    missing = [job for job in jobs if not job_path(work, *job).exists()]
    print(f"{len(missing)} of {len(jobs)} jobs to do, 1 to 3 minutes each on a core; Ctrl-C is safe, the same command resumes", flush=True)
    with ProcessPoolExecutor(config.workers, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting = [pool.submit(do_job, work, config, *job) for job in missing]
        for done in tqdm(waiting, desc="study", unit="job"):
            done.result()
    spent = (read_json(work / "seconds.json")["seconds"] if (work / "seconds.json").exists() else 0.0) + time.monotonic() - begin
    write_json(work / "seconds.json", {"seconds": spent})
    return summary(out, work, config, jobs, spent)


def corpora(config: StudyConfig) -> dict:
    """The clips of the training and of the reporting set."""
    smoke = config.speech == "cached"
    return {
        "train": studio.specs("smoke_train" if smoke else "train", people=config.people, clips=config.clips),
        "report": studio.specs("smoke_report" if smoke else "report", people=config.report_people),
    }


def job_path(work: Path, kind: str, name: str, seed: int) -> Path:
    """Where the scores of one job lie."""
    return Path(work) / "jobs" / f"{kind}.{name}.{seed}.json"


def do_job(work: Path, config: StudyConfig, kind: str, name: str, seed: int) -> None:
    """Train and score one row with one seed, and write its scores."""
    torch.manual_seed(seed)
    begin = time.monotonic()
    rows = {"content": content_job, "emotion": emotion_job}[kind](Path(work), config, TABLES[kind][name], seed)
    scores = bootstrap.lines({key: cells for key, cells in rows.items() if isinstance(cells, dict)})
    scores |= {key: float(value) for key, value in rows.items() if not isinstance(value, dict)}
    write_json(job_path(work, kind, name, seed), {"scores": scores, "seconds": round(time.monotonic() - begin, 1)})


@lru_cache(maxsize=4)
def _features(work: Path, split: str, backbone: str) -> Features:
    return Features(Store(work / split), work / f"{split}_{backbone}")


@lru_cache(maxsize=1)
def _corpus(work: Path, fit_frames: int) -> leakage.Corpus:
    store = Store(work / "report")
    frames = frame_table(store.clips, store.truth["viseme"][:], store.truth["phoneme"][:])
    return leakage.Corpus(halved(store.clips), frames, 0, fit_frames)


@lru_cache(maxsize=1)
def _pairs(work: Path, settings: ContentConfig) -> pd.DataFrame:
    return find_pairs(_features(work, "train", "actions"), settings)


def _raw_content(features: Features) -> np.ndarray:
    return np.concatenate([features.face[:], features.mouth[:]], 1).astype(np.float32)


@lru_cache(maxsize=2)
def _raw_results(work: Path, kind: str, fit_frames: int) -> dict:
    """Probes of the input features, for the shares: what the backbones of the method show of speaker, sentence, viseme."""
    features, corpus = _features(work, "report", "actions"), _corpus(work, fit_frames)
    if kind == "content":
        return leakage.raw_results(_raw_content(features), corpus, {"speaker": False})
    language = np.asarray(features.language[:], np.float32)
    return leakage.raw_results(language, corpus, {"viseme": False, "sentence": True, "speaker": True})


def content_job(work: Path, config: StudyConfig, row: Row, seed: int) -> dict:
    """Scores of one content row: name -> cells."""
    settings = replace(ContentConfig(steps=config.content_steps, pairs=config.pairs, seed=seed), **(row.change or {}))
    train, report = (_features(work, split, row.backbone) for split in ("train", "report"))
    corpus, extra = _corpus(work, config.fit_frames), {}
    everything = np.arange(len(report.store))
    other = np.random.default_rng([seed, 9001]).permutation(everything) if row.heard else None
    if row.control in ("constant", "noise"):
        train, report = (controls.without_information(f, row.control, seed=k) for k, f in enumerate((train, report)))
    if row.kind == "raw":
        code = retrieval.standardise(_raw_content(report))
        embed = lambda image, audio: code[image]  # noqa: E731
    elif row.kind == "released":
        pairs = _pairs(work, ContentConfig(pairs=config.pairs, seed=seed))
        model, history = train_released_content(train, pairs, config.content_steps, seed)
        extra = {f"loss.{name}": float(history[name].tail(5).mean()) for name in ("loss", "positive", "negative")}
        embed = lambda image, audio: embed_released(model, report, image, audio)  # noqa: E731
        code = embed(everything, other)
    else:
        encoder, extra = _content_encoder(work, row, settings, train, seed)
        embed = lambda image, audio: embed_content(encoder, report, image, audio if row.heard else None)  # noqa: E731
        code = embed(everything, other)
        heard = embed_content(encoder, report, everything, everything)
    triples = swap.draw_triples(corpus.clips, corpus.frames, config.swaps, 0)
    rows = {f"content.{key}": value for key, value in extra.items()}
    if row.control in ("constant", "noise"):
        for factor, per_clip, name in (("viseme", False, "viseme"), ("emotion", False, "emotion"), ("emotion", True, "emotion_clip"), ("speaker", False, "speaker")):
            rows[f"content.{name}"] = corpus.null_row(code, factor, per_clip, ("linear",) if factor == "viseme" else leakage.KINDS)
        return rows
    rows |= leakage.content_scores(code, corpus, None if row.kind == "raw" else _raw_results(work, "content", config.fit_frames))
    rows["content.retrieval_r1"] = retrieval.retrieval_r1(code, corpus.clips, corpus.frames, num_sentences=config.gallery, seed=0)
    rows["content.swap_image"] = swap.swap_image(embed, triples, 0)
    rows["rank.content"] = dependence.effective_rank(code)
    if row.kind in ("trained", "released"):
        both = embed if row.kind == "released" else (lambda image, audio: embed_content(encoder, report, image, audio))
        rows["content_av.swap_image"] = swap.swap_image(both, triples, 0)
        rows["content_av.swap_audio"] = swap.swap_audio(both, corpus.frames, seed=0)
        code_av = both(everything, everything) if row.kind == "released" else heard
        rows["content_av.retrieval_r1"] = retrieval.retrieval_r1(code_av, corpus.clips, corpus.frames, num_sentences=config.gallery, seed=0)
    if row == CONTENT["cdrl"]:
        np.save(work / f"code_{seed}.npy", code.astype(np.float16))
        rows |= leakage.permuted_scores(leakage.content_scores, code, corpus, "control.permuted.content")
        if seed == 0:
            rows |= truth_rows(report, corpus, config)
    return rows


def _content_encoder(work: Path, row: Row, settings: ContentConfig, train: Features, seed: int) -> tuple[ContentEncoder, dict]:
    """The encoder of a row, and what its training says."""
    if row.kind == "untrained":
        shape = {"face": train.face.shape[1], "mouth": train.mouth.shape[1], "audio": train.audio.shape[1]}
        return ContentEncoder(**shape, window=settings.window, embedding=settings.embedding).eval(), {}
    pairs = _pairs(work, ContentConfig(pairs=settings.pairs, alignment=settings.alignment, seed=seed))
    folder = work / "encoders" / f"content-{config_hash(settings)}-{row.backbone}-{row.control or 'pairs'}"
    encoder, history = train_content(train, pairs, settings, folder, shuffled=row.control == "shuffled")
    found = {f"loss.{name}": float(history[name].tail(5).mean()) for name in history if name not in ("step", "total")}
    found["loss.chance"] = chance_loss(PairSampler(train, pairs, settings))
    if row.backbone == "actions" and not row.control:
        found |= {name: value for name, value in pair_scores(train, pairs).items() if ".linear" not in name}
    return encoder, found


def truth_rows(features: Features, corpus, config: StudyConfig) -> dict:
    """What the true mouth coefficients score: one frame for visemes, one, 5 and 9 frames for retrieval and swap."""
    store, clip = features.store, corpus.frames["clip"].to_numpy()
    truth = np.asarray(store.truth["coefficients"][:], np.float32)[:, MOUTH_INDEX]
    rows = {"truth.viseme": corpus.read(truth, "viseme", kinds=("linear",)).row()}
    first, last = np.searchsorted(clip, clip, "left"), np.searchsorted(clip, clip, "right") - 1
    triples = swap.draw_triples(corpus.clips, corpus.frames, config.swaps, 0)
    for length in (1, 5, 9):
        around = np.clip(np.arange(len(clip))[:, None] + np.arange(length) - length // 2, first[:, None], last[:, None])
        code = retrieval.standardise(truth[around].reshape(len(truth), -1))
        rows[f"truth.swap_image_{length}"] = swap.swap_image(lambda image, audio, c=code: c[image], triples, 0)
        rows[f"truth.retrieval_r1_{length}"] = retrieval.retrieval_r1(code, corpus.clips, corpus.frames, num_sentences=config.gallery, seed=0)
    coefficients = np.asarray(store.truth["coefficients"][:], np.float32)
    rows["truth.emotion"] = corpus.read(coefficients, "emotion", per_clip=True, kinds=("linear",)).row()
    rows["truth.intensity"] = corpus.intensity(coefficients)
    return rows


def emotion_job(work: Path, config: StudyConfig, row: Row, seed: int) -> dict:
    """Scores of one emotion row: name -> cells."""
    settings = replace(EmotionConfig(steps=config.emotion_steps, seed=seed), **(row.change or {}))
    train, report = (_features(work, split, row.backbone) for split in ("train", "report"))
    corpus, rows = _corpus(work, config.fit_frames), {}
    if row.control:
        train, report = (controls.without_information(f, row.control, seed=k) for k, f in enumerate((train, report)))
    if row.kind == "raw":
        code = np.asarray(report.language[:], np.float32)
    elif row.kind == "released":
        for name, given in (("", train), (".noise", controls.without_information(train, "noise"))):
            history = train_released_emotion(given, "embedded", config.emotion_steps, seed)
            rows[f"emotion.loss{name}"] = float(history.loss.tail(5).mean())
            rows[f"emotion.loss{name}.chance"] = float(np.log(7))
        language = torch.from_numpy(np.asarray(report.language[:], np.float32))
        with torch.no_grad():
            code = LanguagePrior("embedded").project(language).numpy()
    else:
        folder = work / "encoders" / f"emotion-{config_hash(settings)}-{row.backbone}-{row.control or 'faces'}"
        encoder, history = train_emotion(train, settings, "embedded", folder)
        rows |= {f"emotion.loss.{name}": float(history[name].tail(5).mean()) for name in history if name not in ("step", "total")}
        code = embed_emotion(encoder, report)
    if row.control:
        for factor, per_clip in (("emotion", True), ("speaker", True), ("sentence", True), ("viseme", False)):
            rows[f"emotion.{factor}"] = corpus.null_row(code, factor, per_clip)
        return rows
    raw = None if row.kind == "raw" else _raw_results(work, "emotion", config.fit_frames)
    rows |= leakage.emotion_scores(code, corpus, raw)
    rows["rank.emotion"] = dependence.effective_rank(code)
    if row == EMOTION["cdrl"]:
        rows |= leakage.permuted_scores(leakage.emotion_scores, code, corpus, "control.permuted.emotion")
        content = work / f"code_{seed}.npy"
        if content.exists():
            rows["hsic.content_emotion"] = dependence.hsic(np.load(content).astype(np.float32), code, corpus.frames["clip"].to_numpy(), seed=seed)
    return rows


def summary(out: Path, work: Path, config: StudyConfig, jobs: list, seconds: float) -> dict:
    """Means over the seeds of every row, their spread, the tables, and which controls are where they must be."""
    found = {job: read_json(job_path(work, *job))["scores"] for job in jobs}
    scores, tables = {}, {kind: [] for kind in TABLES}
    for kind, rows in TABLES.items():
        for name, row in rows.items():
            seeds = [found[job] for job in jobs if job[:2] == (kind, name)]
            prefix = "" if name == "cdrl" else f"{name}."
            line = {"row": name, "what": row.why, "seeds": len(seeds)}
            for key in dict.fromkeys(key for one in seeds for key in one):
                values = [one[key] for one in seeds if key in one and one[key] is not None]
                if values:
                    scores[f"{prefix}{key}"] = float(np.mean(values))
                    if len(seeds) > 1 and f"{key}.n" in seeds[0]:
                        scores |= {f"{prefix}{key}.least": float(min(values)), f"{prefix}{key}.most": float(max(values)), f"{prefix}{key}.seeds": len(values)}
                    if f"{key}.n" in seeds[0]:
                        line[key] = round(float(np.mean(values)), 3)
            tables[kind].append(line)
    scores |= controls_inside(scores)
    for kind, lines in tables.items():
        Path(out).mkdir(parents=True, exist_ok=True)
        pd.DataFrame(lines).to_csv(Path(out) / f"{kind}.csv", index=False)
    results = {
        "stages": {"study": {"config": asdict(config), "scores": scores}},
        "run": {"time.hours": round(seconds / 3600, 2), "study.jobs": len(jobs)},
        "commit": _commit(), "command": "cdrl study",
    }  # fmt: skip
    write_json(Path(out) / "results.json", results)
    return results


def controls_inside(scores: dict) -> dict:
    """For every control whether it is where no information would put it: 1 or 0, and the share of those that are.

    Constant and noise images: the probe inside the interval of its own predictions under relabelling. Permuted labels: chance
    inside the range of the permutations. Shuffled pairs: loss within 2 % of ln(candidates); swap and retrieval no better than
    the interval of an encoder nobody trained.
    """
    inside = {}
    for name, value in scores.items():
        if name.startswith("control.") and f"{name}.null_low" in scores:
            inside[name] = scores[f"{name}.null_low"] - 1e-9 <= value <= scores[f"{name}.null_high"] + 1e-9
        elif name.startswith("control.permuted.") and f"{name}.chance" in scores and "share" not in name:
            inside[name] = scores[f"{name}.low"] <= scores[f"{name}.chance"] <= scores[f"{name}.high"]
    for key in ("content.swap_image", "content.retrieval_r1"):
        if f"control.shuffled.{key}" in scores:
            inside[f"control.shuffled.{key}"] = scores[f"control.shuffled.{key}"] <= scores[f"control.untrained.{key}.high"]
    loss = "control.shuffled.content.loss"
    if f"{loss}.contrast" in scores:
        inside[f"{loss}.contrast"] = abs(scores[f"{loss}.contrast"] / scores[f"{loss}.chance"] - 1) < 0.02
    share = float(np.mean(list(inside.values()))) if inside else float("nan")
    return {f"{name}.inside": int(value) for name, value in inside.items()} | {"control.inside": share}


def _commit() -> str:
    found = subprocess.run(["git", "rev-parse", "HEAD"], cwd=repository_root(), capture_output=True, text=True)
    return found.stdout.strip() or "unknown"
