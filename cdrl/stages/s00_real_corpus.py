"""Notebook 00 on a corpus that is not generated: check it, split its people, crop their clips."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError, printable
from cdrl.core.files import check_disk
from cdrl.core.settings import CorpusConfig, IngestConfig
from cdrl.core.vocabulary import UNLABELLED
from cdrl.corpora import samples
from cdrl.corpora.check import HEADER_SAMPLE, describe_briefly, read_headers
from cdrl.corpora.ingest import ingest
from cdrl.corpora.ingest_cost import describe_cost, expected_cost
from cdrl.corpora.manifest import add_sums
from cdrl.corpora.rejects import reason_kind
from cdrl.corpora.scan import scan
from cdrl.corpora.splits import load_split, parts_of, split_concerns, split_names
from cdrl.corpora.store import Store
from cdrl.corpora.store_join import join_stores
from cdrl.editing.requests import plan_edits
from cdrl.stages.notes import write_notes
from cdrl.stages.s00_outlook import describe_outlook, lacks_training
from cdrl.studio import corpus as studio

# Parts of a split that a run uses; `host`, where a split has it, trains the editor.
PARTS = ("train", "host", "report")
DRAW_SPLIT_SEED = 9301
DRAW_CLIPS_SEED = 9302
OWN_TRAIN = "own"  # store of the corpus's training clips, until it is known whether they suffice
RENDERED_TRAIN = "rendered"
MOST_REASONS = 5  # clips left out that the notes name, for each part


@dataclass(frozen=True)
class SplitClips:
    """Who trains and who reports.

    Attributes:
        part: (C,) part of each clip: train, host, report, choose or "".
        notes: lines that say how the clips were split.
        drivers: of the paper's split, actor -> the actor whose clips give the emotion.
    """

    part: pd.Series
    notes: list[str]
    drivers: dict[str, str]


def build_real(run: Path, config: CorpusConfig, out: Path) -> dict[str, float]:
    """Crop the clips of a real corpus into the run's stores.

    The stores are train, report, and host where the split has one. Where the training clips cannot
    teach content and emotion alone, rendered people join them. Clips that nobody labelled do not
    train the editor: host has the others. Crops are kept in `config.ingested`, under the content of
    each clip and the settings, so no run crops again what another has cropped. `notes.json` says
    what was decided.

    Args:
        run: folder of the run.
        config: the stage's settings.
        out: the stage's folder.

    Returns:
        `corpus.*`: clips and speakers of each part, what both parts share (0 but by the paper's
        split), clips left out.

    Raises:
        InputError: the folder holds no such corpus or no pictures, or the split leaves nobody to
            train or to report.
    """
    clips, num_sound_only = _scan_clips(config)
    split = choose_parts(clips, config.split, config.seed)

    notes = list(split.notes)
    if num_sound_only:
        notes.append(f"{num_sound_only} clips are sound alone and left out")

    clips_of_part = _draw_part_clips(clips, split, config)
    notes += describe_outlook(clips_of_part["train"], clips_of_part["report"])
    num_rejected, rejections = _ingest_parts(run, config, out, clips_of_part)
    notes += rejections

    if not _is_made(out / "train"):
        _complete_training(config, out)
    if not _is_made(out / "real"):
        samples.ingest_crema_d(samples.sample_paths(), out / "real", config.crop_size, config.crop)

    stores = {name: Store(out / name) for name in (*PARTS, "real") if _is_made(out / name)}
    requests = plan_edits(stores, config.edits, split.drivers, config.seed)
    requests.to_parquet(out / "edits.parquet", index=False)

    scores: dict[str, float] = {
        "corpus.sound_only_clips": num_sound_only,
        "corpus.rejected_clips": num_rejected,
    }
    shared_scores, warnings = _shared_between_parts(stores)
    scores |= _store_sizes(stores) | shared_scores
    write_notes(out, [_first_note(config, stores), *notes, *warnings])

    return scores


def describe_run(config: CorpusConfig) -> list[str]:
    """Say what a run finds in its folder, and what it can and cannot do with it.

    Args:
        config: of a corpus that is not generated.

    Returns:
        A few lines: what `cdrl data check` says in short, how the clips are split, what can be
        learnt and measured, and what cropping them costs.

    Raises:
        InputError: as `build_real`, for what the names of the files tell.
    """
    root = Path(config.data_root)
    found = scan(root, config.corpus, config.template)
    clips, _ = _with_pictures(found.clips, config)
    _, unreadable = read_headers(root, clips, HEADER_SAMPLE)
    found.remarks.extend(unreadable)

    split = choose_parts(clips, config.split, config.seed)
    clips_of_part = _draw_part_clips(clips, split, config)
    used = pd.concat(clips_of_part.values())
    cost = describe_cost(used, root, _ingest_settings(config), keep_pieces=True)
    lines = describe_briefly(found)
    lines.append(f"all findings: cdrl data check {config.data_root} --corpus {config.corpus}")
    lines += split.notes
    lines += describe_outlook(clips_of_part["train"], clips_of_part["report"])
    lines.append(f"crops of {len(used)} clips: {cost}; less for what is cropped already")
    return [printable(line) for line in lines]


def _draw_part_clips(
    clips: pd.DataFrame, split: SplitClips, config: CorpusConfig
) -> dict[str, pd.DataFrame]:
    """The clips of each part that the run uses."""
    clips_of_part = {}
    for name in PARTS:
        of_part = clips[split.part == name]
        clips_of_part[name] = draw_clips(of_part, config.max_clips, config.seed)
    return clips_of_part


def _is_made(store: Path) -> bool:
    return (store / "store.json").exists()


def _scan_clips(config: CorpusConfig) -> tuple[pd.DataFrame, int]:
    """Find the clips that have pictures, and count those that are sound alone."""
    if not config.data_root:
        raise InputError(
            f"corpus {config.corpus}: it is not generated; name its folder, "
            "--set corpus.data_root=FOLDER"
        )

    clips = scan(Path(config.data_root), config.corpus, config.template).clips
    return _with_pictures(clips, config)


def _with_pictures(clips: pd.DataFrame, config: CorpusConfig) -> tuple[pd.DataFrame, int]:
    """The clips that have pictures, and how many have none; refused where none has."""
    with_pictures = clips[clips["path"] != ""].reset_index(drop=True)
    if with_pictures.empty:
        raise InputError(
            f"{config.data_root}: {len(clips)} clips of {config.corpus}, all of them sound alone; "
            "a run needs the faces: give the folder of the videos"
        )

    return with_pictures, len(clips) - len(with_pictures)


def _ingest_parts(
    run: Path, config: CorpusConfig, out: Path, clips_of_part: dict[str, pd.DataFrame]
) -> tuple[int, list[str]]:
    """Crop the clips of every part that has any.

    Returns:
        Number of clips left out, and a line for some of them.
    """
    root = Path(config.data_root)
    ingested = Path(config.ingested) if config.ingested else run.parent / "ingested"
    root_sum = hashlib.sha256(str(root.resolve()).encode()).hexdigest()
    pieces = ingested / f"{config.corpus}-{root_sum[:12]}"

    settings = _ingest_settings(config)
    missing = [clips for name, clips in clips_of_part.items() if not _is_made(out / name)]
    if missing:
        _announce_cost(pd.concat(missing), root, settings, pieces)

    num_rejected = 0
    notes = []
    for name, clips in clips_of_part.items():
        if not len(clips):
            continue
        with_sums = add_sums(root, clips, pieces.with_suffix(".sums.jsonl"))
        store = _place_of_clips(out, name)
        result = ingest(with_sums, root, store, settings, shared=pieces)
        num_rejected += len(result.rejected)
        for clip, reason in result.rejected[:MOST_REASONS]:
            notes.append(f"{name}: {clip} left out, {reason_kind(reason)}: {reason}")

    return num_rejected, notes


def _place_of_clips(out: Path, part: str) -> Path:
    """The store of a part's own clips; those that train may get rendered people later."""
    own = out / OWN_TRAIN
    was_enough = _is_made(out / "train") and not _is_made(own)
    return own if part == "train" and not was_enough else out / part


def _ingest_settings(config: CorpusConfig) -> IngestConfig:
    """The settings of the crops of a run."""
    return IngestConfig(
        config.frame_rate,
        config.crop,
        config.crop_size,
        detector=config.detector,
        split=config.corpus,
        workers=config.workers,
        cluster=config.cluster,
    )


def _announce_cost(clips: pd.DataFrame, root: Path, settings: IngestConfig, pieces: Path) -> None:
    """Print what cropping will take, and refuse where the disk has no room for it."""
    if clips.empty:
        return

    cost = describe_cost(clips, root, settings, keep_pieces=True)
    print(f"{len(clips)} clips: {cost}; less for what is cropped already", flush=True)

    check_disk(pieces, expected_cost(clips, root, settings, keep_pieces=True).disk_gb)


def _store_sizes(stores: dict[str, Store]) -> dict[str, float]:
    """Count the clips and the speakers of each store."""
    scores: dict[str, float] = {}
    for name, store in stores.items():
        scores[f"corpus.{name}_clips"] = len(store.clips)
        scores[f"corpus.{name}_speakers"] = store.clips.speaker.nunique()

    return scores


def _shared_between_parts(stores: dict[str, Store]) -> tuple[dict[str, float], list[str]]:
    """Count speakers and sentences that are in train and in report; warn of each."""
    scores: dict[str, float] = {}
    warnings = []
    for column in ("speaker", "sentence"):
        train = set(stores["train"].clips[column])
        report = set(stores["report"].clips[column])
        shared = sorted(train & report)
        scores[f"corpus.shared_{column}s"] = len(shared)
        if shared:
            warnings.append(
                f"beware: {len(shared)} {column}s of report are in train too, e.g. {shared[0]}"
            )

    return scores, warnings


def _first_note(config: CorpusConfig, stores: dict[str, Store]) -> str:
    """Say how many clips and speakers each store has."""
    sizes = []
    for name, store in stores.items():
        num_speakers = store.clips.speaker.nunique()
        sizes.append(f"{name} {len(store.clips)} clips of {num_speakers}")

    return (
        f"corpus {config.corpus} at {config.frame_rate:g} frames a second, "
        f"speakers in {', '.join(sizes)}"
    )


def choose_parts(clips: pd.DataFrame, split: str, seed: int = 0) -> SplitClips:
    """Choose who trains and who reports.

    Args:
        clips: a manifest.
        split: `strict` is the corpus's committed strict split or, where that leaves a part empty,
            `drawn`; `drawn` is half of the people and of the shared sentences; `paper` is the
            committed split of the release; anything else is the path of a split file.
        seed: of a drawn split.

    Raises:
        InputError: no such split, or it leaves no clip to report on or none to train with.
    """
    corpus = clips["corpus"].iloc[0]
    committed = {"strict": f"{corpus}_strict", "paper": f"{corpus}_paper"}

    name = committed.get(split, split)
    if split == "paper" and name not in split_names():
        raise InputError(
            f"corpus.split=paper: the paper used no {corpus}; "
            "accepted are strict, drawn or a .json file"
        )

    if split == "drawn" or (split == "strict" and name not in split_names()):
        part, note = draw_parts(clips, seed)
        return SplitClips(part, [note], {})

    loaded = load_split(name)
    part_or_none = _parts_or_none(loaded, clips, split)

    present = set() if part_or_none is None else set(part_or_none)
    if part_or_none is not None and {"train", "report"} <= present:
        concerns = [f"beware: {text}" for text in split_concerns(loaded, clips)]
        notes = [f"split {name}: {loaded.get('what', '')}", *concerns]
        return SplitClips(part_or_none, notes, loaded.get("drivers", {}))

    if split != "strict":
        lacking = "report" if "train" in present else "train"
        raise InputError(
            f"corpus.split={split}: not one clip here is in its part {lacking}; "
            "take corpus.split=strict or drawn, or get those speakers"
        )

    part, note = draw_parts(clips, seed)
    no_split = f"split {name} leaves train or report empty here, so one is drawn"

    return SplitClips(part, [no_split, note], {})


def _parts_or_none(split: dict, clips: pd.DataFrame, name: str) -> pd.Series | None:
    """Return the part of each clip; None where the strict split does not fit these clips."""
    try:
        return parts_of(split, clips)
    except InputError:
        if name == "strict":
            return None
        raise


def draw_parts(clips: pd.DataFrame, seed: int = 0) -> tuple[pd.Series, str]:
    """Draw half of the people to train and half to report.

    Sentences said in two emotions are halved likewise, so that the parts share neither people nor
    sentences. Of a corpus filmed by several cameras only the front one is used. One person
    alone reports, and rendered people train.

    Args:
        clips: a manifest.
        seed: of the draw.

    Returns:
        (C,) part of each clip, and a line that says how.
    """
    part = pd.Series("", index=clips.index)
    usable = _front_camera(clips)

    random = np.random.default_rng([seed, DRAW_SPLIT_SEED])
    speakers = random.permutation(sorted(set(clips["speaker"][usable])))
    if len(speakers) < 2:
        part[usable] = "report"
        return part, (
            f"split: one speaker ({speakers[0]}) cannot be in train and in report; "
            "he or she reports, and rendered people train"
        )

    emotions_of_sentence = clips[usable].groupby("sentence")["emotion"].nunique()
    shared = emotions_of_sentence.index[emotions_of_sentence > 1]
    sentences = random.permutation(sorted(shared))

    middle = (len(speakers) + 1) // 2
    train = usable & clips["speaker"].isin(speakers[:middle])
    report = usable & clips["speaker"].isin(speakers[middle:])
    text = "the same sentences, there are no two that two emotions share"
    if len(sentences) >= 2:
        reported = sentences[(len(sentences) + 1) // 2 :]
        train &= ~clips["sentence"].isin(reported)
        report &= clips["sentence"].isin(reported)
        text = f"{len(sentences) // 2} of {len(sentences)} sentences"

    part[train] = "train"
    part[report] = "report"
    num_reporting = len(speakers) - middle

    return part, (
        f"split drawn by seed {seed}: {num_reporting} of {len(speakers)} speakers report, on {text}"
    )


def _front_camera(clips: pd.DataFrame) -> pd.Series:
    """Return (C,) bool: clips of the front camera, or of the first one where none is called so."""
    front = clips["camera"].isin(("", "front"))
    if front.any():
        return front

    return clips["camera"] == clips["camera"].iloc[0]


def draw_clips(clips: pd.DataFrame, most: int, seed: int = 0) -> pd.DataFrame:
    """Draw some clips: whole sentences of a speaker, speakers in turn, since pairs need emotions.

    Args:
        clips: a manifest.
        most: number of clips; 0 takes all.
        seed: of the draw.
    """
    if not most or len(clips) <= most:
        return clips.reset_index(drop=True)

    random = np.random.default_rng([seed, DRAW_CLIPS_SEED])
    num_emotions = clips.groupby("sentence")["emotion"].transform("nunique")

    groups_of_speaker: dict[str, list[tuple[bool, float, list[int]]]] = {}
    with_emotions = clips.assign(one_emotion=num_emotions < 2)

    for (speaker, _), group in with_emotions.groupby(["speaker", "sentence"]):
        one_emotion = bool(group["one_emotion"].iloc[0])
        entry = (one_emotion, random.random(), list(group.index))
        groups_of_speaker.setdefault(speaker, []).append(entry)

    turns = []
    for groups in groups_of_speaker.values():
        turns.append([rows for _, _, rows in sorted(groups)])

    taken = _take_in_turn(turns, most)
    if not taken:
        taken = turns[0][0][:most]

    return clips.loc[sorted(taken)].reset_index(drop=True)


def _take_in_turn(turns: list[list[list[int]]], most: int) -> list[int]:
    """Take the first group of every speaker, then the second, as long as a whole one fits."""
    taken: list[int] = []
    for position in range(max(map(len, turns))):
        for groups in turns:
            if position >= len(groups):
                continue
            rows = groups[position]
            if len(taken) + len(rows) <= most:
                taken += rows

    return taken


def _complete_training(config: CorpusConfig, out: Path) -> None:
    """Make the training store, of the corpus's own clips and of rendered people where needed."""
    own = out / OWN_TRAIN
    if not _is_made(own):
        _render_people(config, out / "train")
        return

    own_clips = Store(own)
    stores = [own_clips]
    is_enough = not lacks_training(own_clips.clips)
    if not is_enough:
        rendered = out / RENDERED_TRAIN
        if not _is_made(rendered):
            _render_people(config, rendered)
        stores.append(Store(rendered))

    has_unlabelled = (own_clips.clips["emotion"] == UNLABELLED).any()
    if has_unlabelled and not _is_made(out / "host"):
        join_stores(stores, out / "host", without=[UNLABELLED])
    if is_enough:
        own.replace(out / "train")
    else:
        join_stores(stores, out / "train")


def _render_people(config: CorpusConfig, path: Path) -> None:
    """Render the training people of the studio."""
    split = "smoke_train" if config.speech == "cached" else "train"
    people = min(config.train_people, len(studio.SPLITS[split].people))
    clips = studio.specs(split, people=people, clips=config.train_clips, seed=config.seed)

    sizes = (config.frame_size, config.crop_size, config.workers)
    studio.generate(clips, path, "train", *sizes, crop=config.crop)
