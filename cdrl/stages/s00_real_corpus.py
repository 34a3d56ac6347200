"""Notebook 00 on a corpus that is not generated: check the root, say who trains and who reports, crop their clips."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.files import check_disk
from cdrl.core.settings import IngestConfig
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.corpora import samples
from cdrl.corpora.ingest import cost_words, expected_cost, ingest
from cdrl.corpora.manifest import add_sums
from cdrl.corpora.rejects import kind_of
from cdrl.corpora.scan import scan
from cdrl.corpora.splits import load_split, parts_of, split_concerns, split_names
from cdrl.corpora.store import Store
from cdrl.editing.requests import plan_edits
from cdrl.stages.notes import write_notes
from cdrl.studio import corpus as studio


def build_real(run: Path, config, out: Path) -> dict:
    """Crop the clips of a real corpus into the run's stores: train, report, and host where the split has one.

    Crops are kept in `config.ingested`, under the content of each clip and the settings: what any run has cropped is not
    cropped again. `notes.json` holds what was decided, in words.

    Returns:
        corpus.*: clips and speakers of each part, what both parts share (0 but by the paper's split), clips left out.

    Raises:
        InputError: a root that is no such corpus or has no pictures, a split that leaves nobody to train or to report.
    """
    if not config.data_root:
        raise InputError(
            f"corpus {config.corpus}: it is not generated; name its folder, --set corpus.data_root=FOLDER"
        )
    root = Path(config.data_root)
    found = scan(root, config.corpus, config.template)
    seen = found.clips[found.clips["path"] != ""].reset_index(drop=True)
    if seen.empty:
        raise InputError(
            f"{root}: {len(found.clips)} clips of {config.corpus}, all of them sound alone; a run needs the faces: give the "
            "folder of the videos"
        )
    part, lines, drivers = choose_parts(seen, config.split, config.seed)
    if len(found.clips) > len(seen):
        lines.append(f"{len(found.clips) - len(seen)} clips are sound alone and left out")
    wanted = {
        name: draw_clips(seen[part == name], config.max_clips, config.seed)
        for name in ("train", "host", "report")
    }
    held = Path(config.ingested) if config.ingested else run.parent / "ingested"
    settings = IngestConfig(
        config.frame_rate,
        config.crop,
        config.crop_size,
        detector=config.detector,
        split=config.corpus,
        workers=config.workers,
    )
    place = (
        held / f"{config.corpus}-{hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:12]}"
    )
    scores = {"corpus.sound_only_clips": len(found.clips) - len(seen), "corpus.rejected_clips": 0}
    todo = pd.concat(
        [clips for name, clips in wanted.items() if not (out / name / "store.json").exists()]
        or [seen[:0]]
    )
    if len(todo):
        print(
            f"{len(todo)} clips: {cost_words(todo, root, settings)}; less for what is cropped already",
            flush=True,
        )
        check_disk(held, expected_cost(todo, root, settings)[2])
    for name, clips in wanted.items():
        if len(clips):
            done = ingest(
                add_sums(root, clips, place.with_suffix(".sums.jsonl")),
                root,
                out / name,
                settings,
                shared=place,
            )
            scores["corpus.rejected_clips"] += len(done.rejected)
            lines += [
                f"{name}: {clip} left out, {kind_of(reason)}: {reason}"
                for clip, reason in done.rejected[:5]
            ]
    if not len(wanted["train"]) and not (out / "train" / "store.json").exists():
        lines.append(_train_on_the_studio(config, out / "train"))
    if not (out / "real" / "store.json").exists():
        samples.ingest(samples.sample_paths(), out / "real", config.crop_size, config.crop)
    stores = {
        name: Store(out / name)
        for name in ("train", "host", "report", "real")
        if (out / name / "store.json").exists()
    }
    plan_edits(stores, config.edits, drivers, config.seed).to_parquet(
        out / "edits.parquet", index=False
    )
    for name, store in stores.items():
        scores |= {
            f"corpus.{name}_clips": len(store.clips),
            f"corpus.{name}_speakers": store.clips.speaker.nunique(),
        }
    for column in ("speaker", "sentence"):
        shared = set(stores["train"].clips[column]) & set(stores["report"].clips[column])
        scores[f"corpus.shared_{column}s"] = len(shared)
        if shared:
            lines.append(
                f"beware: {len(shared)} {column}s of report are in train too, e.g. {sorted(shared)[0]}"
            )
    parts = [
        f"{name} {len(store.clips)} clips of {store.clips.speaker.nunique()}"
        for name, store in stores.items()
    ]
    write_notes(
        out,
        [
            f"corpus {config.corpus} at {config.frame_rate:g} frames a second, speakers in {', '.join(parts)}",
            *lines,
        ],
    )
    return scores


def choose_parts(
    clips: pd.DataFrame, split: str, seed: int = 0
) -> tuple[pd.Series, list[str], dict]:
    """Who trains and who reports.

    Args:
        clips: a manifest. split: `strict` is the corpus's committed strict split or, where that leaves a part empty, `drawn`;
            `drawn` is half of the people and of the shared sentences, by seed; `paper` is the committed one of the release; else
            the path of a split file.

    Returns:
        (C,) part of each clip ("train", "host", "report", "choose" or ""), lines that say so, and the drivers of the split.

    Raises:
        InputError: a split that is none, or that leaves no clip to report on or none to train with.
    """
    corpus = clips["corpus"].iloc[0]
    name = {"strict": f"{corpus}_strict", "paper": f"{corpus}_paper"}.get(split, split)
    if split == "paper" and name not in split_names():
        raise InputError(
            f"corpus.split=paper: the paper used no {corpus}; accepted are strict, drawn or a .json file"
        )
    lines = []
    if split != "drawn" and (split != "strict" or name in split_names()):
        chosen = load_split(name)
        part = _parts_or_none(chosen, clips, split)
        if part is not None and {"train", "report"} <= set(part):
            concerns = [f"beware: {text}" for text in split_concerns(chosen, clips)]
            return (
                part,
                [f"split {name}: {chosen.get('what', '')}", *concerns],
                chosen.get("drivers", {}),
            )
        if split != "strict":
            lacking = "train" if part is None or "train" not in set(part) else "report"
            raise InputError(
                f"corpus.split={split}: not one clip here is in its part {lacking}; take corpus.split=strict or drawn, or get "
                "those speakers"
            )
        lines.append(f"split {name} leaves train or report empty here, so one is drawn")
    part, text = draw_parts(clips, seed)
    return part, [*lines, text], {}


def _parts_or_none(split: dict, clips: pd.DataFrame, asked: str) -> pd.Series | None:
    try:
        return parts_of(split, clips)
    except InputError:
        if asked == "strict":
            return None
        raise


def draw_parts(clips: pd.DataFrame, seed: int = 0) -> tuple[pd.Series, str]:
    """Half of the people train and half report; of the sentences said in two emotions likewise, so that neither is in both.

    Of a corpus filmed by several cameras only the front one is taken. One person alone reports, and nobody here trains.

    Returns:
        (C,) part of each clip, and a line that says how.
    """
    part = pd.Series("", index=clips.index)
    usable = clips["camera"].isin(("", "front"))
    usable = usable if usable.any() else clips["camera"] == clips["camera"].iloc[0]
    random = np.random.default_rng([seed, 9301])
    speakers = random.permutation(sorted(set(clips["speaker"][usable])))
    if len(speakers) < 2:
        part[usable] = "report"
        who = f"one speaker ({speakers[0]}) cannot be in train and in report"
        return part, f"split: {who}; he or she reports, and rendered people train"
    emotions = clips[usable].groupby("sentence")["emotion"].nunique()
    shared = random.permutation(sorted(emotions.index[emotions > 1]))
    middle = (len(speakers) + 1) // 2
    train, report = (
        usable & clips["speaker"].isin(names) for names in (speakers[:middle], speakers[middle:])
    )
    if len(shared) >= 2:
        held = shared[(len(shared) + 1) // 2 :]
        train, report = train & ~clips["sentence"].isin(held), report & clips["sentence"].isin(held)
    part[train], part[report] = "train", "report"
    text = "the same sentences, there are no two that two emotions share"
    if len(shared) >= 2:
        text = f"{len(shared) // 2} of {len(shared)} sentences"
    return (
        part,
        f"split drawn by seed {seed}: {len(speakers) - middle} of {len(speakers)} speakers report, on {text}",
    )


def draw_clips(clips: pd.DataFrame, most: int, seed: int = 0) -> pd.DataFrame:
    """At most so many clips, speakers in turn and each with all emotions of a sentence, for pairs need them; 0 takes all."""
    if not most or len(clips) <= most:
        return clips.reset_index(drop=True)
    random, groups = np.random.default_rng([seed, 9302]), {}
    emotions = clips.groupby("sentence")["emotion"].transform("nunique")
    for (speaker, _), group in clips.assign(alone=emotions < 2).groupby(["speaker", "sentence"]):
        groups.setdefault(speaker, []).append(
            (bool(group["alone"].iloc[0]), random.random(), list(group.index))
        )
    turns = [[rows for _, _, rows in sorted(found)] for found in groups.values()]
    taken = []
    for k in range(max(map(len, turns))):
        for rows in (found[k] for found in turns if k < len(found)):
            taken += rows if len(taken) + len(rows) <= most else []
    return clips.loc[sorted(taken or turns[0][0][:most])].reset_index(drop=True)


def _train_on_the_studio(config, path: Path) -> str:
    split = "smoke_train" if config.speech == "cached" else "train"
    people = min(config.train_people, len(studio.SPLITS[split].people))
    specs = studio.specs(split, people=people, clips=config.train_clips, seed=config.seed)
    studio.generate(
        specs, path, "train", config.frame_size, config.crop_size, config.workers, crop=config.crop
    )
    return f"train: {people} rendered people of the studio, {len(SCORED_EMOTIONS)} emotions; what follows is a transfer to real clips"
