"""Who trains, who chooses, who reports: split files (`data/splits/NAME.json`) and a split drawn for any corpus.

A split has `parts`: {part: [rule, ...]} in order. A rule maps columns of a manifest to the accepted values, all of which
must hold; `except` maps columns to values that must not; `last` takes only so many clips of each speaker, emotion and
intensity, the highest `take`s. A clip belongs to the first part with a rule that takes it. `apart` names, for two parts,
the columns that they must not share.
"""

import hashlib
import json
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.paths import data_root
from cdrl.corpora.check import concerns
from cdrl.corpora.manifest import COLUMNS

PARTS = ("train", "choose", "report", "host")
KEYS = ("corpus", "what", "certainty", "parts", "apart", "drivers")


def split_names() -> list[str]:
    """The committed splits: mead_paper, mead_strict, ..."""
    return sorted(path.stem for path in (data_root() / "splits").glob("*.json"))


def load_split(name: str | Path) -> dict:
    """A committed split by name, or one in a file of yours by path.

    Raises:
        InputError: for a name that is neither, or a file that is no split.
    """
    path = Path(name) if str(name).endswith(".json") else data_root() / "splits" / f"{name}.json"
    if not path.is_file():
        raise InputError(
            f"no split {name}: accepted are {', '.join(split_names())} or the path of a .json file"
        )
    try:
        split = json.loads(path.read_text())
        parts = split["parts"]
        columns = {
            column
            for rules in parts.values()
            for rule in rules
            for column in (*rule, *rule.get("except", ()))
        }
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise InputError(
            f"{path}: no split; it needs parts, as in {data_root() / 'splits' / 'mead_paper.json'}"
        ) from error
    strange = sorted(
        (set(split) - set(KEYS))
        | (set(parts) - set(PARTS))
        | (columns - {*COLUMNS, "except", "last"})
    )
    if strange:
        raise InputError(
            f"{path}: unknown {', '.join(strange)}; keys are {', '.join(KEYS)}, parts {', '.join(PARTS)}, columns "
            f"{', '.join(COLUMNS)}"
        )
    return split


def split_for(name: str | Path, clips: pd.DataFrame) -> dict:
    """`load_split`; "strict" is the corpus's committed strict split or, where it has none, `draw_split`."""
    if name != "strict":
        return load_split(name)
    committed = f"{clips['corpus'].iloc[0]}_strict"
    return load_split(committed) if committed in split_names() else draw_split(clips)


def parts_of(split: dict, clips: pd.DataFrame) -> pd.Series:
    """(C,) the part of each clip of a manifest; "" for a clip in none.

    Raises:
        InputError: where the manifest is of another corpus, or no clip is in any part.
    """
    found = _parts(split, clips)
    if (found == "").all():
        raise InputError(
            f"none of {len(clips)} clips is in a part of this split: {split.get('what', '')}"
        )
    return found


def _parts(split: dict, clips: pd.DataFrame) -> pd.Series:
    corpora = set(clips["corpus"])
    if split.get("corpus") and corpora != {split["corpus"]}:
        raise InputError(
            f"the split is of {split['corpus']}, the clips are of {', '.join(sorted(corpora))}"
        )
    found = pd.Series("", index=clips.index)
    for part, rules in split["parts"].items():
        taken = np.logical_or.reduce(
            [_matches(rule, clips, (found == "").to_numpy()) for rule in rules]
        )
        found[taken] = part
    return found


def _matches(rule: dict, clips: pd.DataFrame, free: np.ndarray) -> np.ndarray:
    taken = free.copy()
    for column, values in rule.items():
        if column not in ("except", "last"):
            taken &= clips[column].isin(values).to_numpy()
    for column, values in rule.get("except", {}).items():
        taken &= ~clips[column].isin(values).to_numpy()
    if "last" in rule:
        ordered = clips[taken].sort_values("take")
        kept = ordered.groupby(["speaker", "emotion", "intensity"]).tail(rule["last"]).index
        taken &= clips.index.isin(kept)
    return taken


def draw_split(clips: pd.DataFrame) -> dict:
    """The strict split of any manifest: people and sentences of train are in no other part, people in one part each.

    Half of the people train, a fifth chooses, the rest reports; the sentences likewise, where three or more are said in
    two emotions, else choose and report share what train has not. A name's place is drawn by its hash. Where no
    sentence is shared by emotions only people are kept apart.

    Raises:
        InputError: below three speakers.
    """
    corpora = sorted(set(clips["corpus"]))
    speakers = _drawn(set(clips["speaker"]))
    if len(speakers) < 3:
        raise InputError(
            f"{len(speakers)} speakers: train, choose and report need one each; add people"
        )
    table = pd.crosstab(clips["sentence"], clips["emotion"])
    shared = _drawn(set(table.index[(table > 0).sum(axis=1) > 1]))
    rules = dict(
        zip(PARTS, ({"speaker": sorted(names)} for names in _thirds(speakers)), strict=False)
    )
    apart = {f"{a}|{b}": ["speaker"] for a, b in combinations(rules, 2)}
    if len(shared) >= 2:
        train, choose, report = (
            _thirds(shared) if len(shared) > 2 else (shared[:1], shared[1:], shared[1:])
        )
        held = sorted({*choose, *report})
        rules["train"] |= {"except": {"sentence": held}}
        rules["choose"] |= {"sentence": sorted(choose)}
        rules["report"] |= {"sentence": sorted(report)}
        apart |= {f"train|{part}": ["speaker", "sentence"] for part in ("choose", "report")}
        apart |= {
            "choose|report": ["speaker", "sentence"]
            if not set(choose) & set(report)
            else ["speaker"]
        }
    return {
        "corpus": corpora[0] if len(corpora) == 1 else "",
        "what": "strict: drawn by the names' hashes",
        "parts": {part: [rule] for part, rule in rules.items()},
        "apart": apart,
    }


def _drawn(names: set) -> list[str]:
    return sorted(names, key=lambda name: hashlib.sha256(str(name).encode()).hexdigest())


def _thirds(names: list) -> tuple[list, list, list]:
    """Half, a fifth, the rest; none of them empty for three names or more."""
    choose = max(1, len(names) // 5)
    train = max(1, min(len(names) // 2, len(names) - choose - 1))
    return names[:train], names[train : train + choose], names[train + choose :]


def split_concerns(split: dict, clips: pd.DataFrame) -> list[str]:
    """What is wrong with a split of these clips: people or sentences in two parts, and the `concerns` of every part."""
    part = _parts(split, clips)
    found = []
    for one, other in combinations([name for name in PARTS if (part == name).any()], 2):
        for column in ("speaker", "sentence"):
            both = sorted(set(clips[column][part == one]) & set(clips[column][part == other]))
            if both:
                found.append(f"{one} and {other} share {len(both)} {column}s, e.g. {both[0]}")
    for name in (name for name in PARTS if name in split["parts"]):
        here = clips[part == name]
        found += (
            [f"{name}: {reason}" for reason in concerns(here)]
            if len(here)
            else [f"{name}: not one clip is here"]
        )
    return found


def split_lines(name: str, split: dict, clips: pd.DataFrame) -> list[str]:
    """What a split makes of a manifest, in words: clips and speakers of each part, then `split_concerns`."""
    part = _parts(split, clips)
    sizes = [
        f"{name} {(part == name).sum()} clips of {clips['speaker'][part == name].nunique()}"
        for name in PARTS
        if name in split["parts"]
    ]
    lines = [f"split {name}: {', '.join(sizes)} speakers, in none {(part == '').sum()}"]
    return lines + [f"beware of the split: {concern}" for concern in split_concerns(split, clips)]
