"""Who trains, who chooses, who reports: split files, and a split drawn for any corpus.

Split files are `data/splits/NAME.json`. A split has `parts`: {part: [rule, ...]} in order. A rule
maps columns of a manifest to the accepted values, all of which must hold; `except` maps columns to
values that must not; `last` takes only so many clips of each speaker, emotion and intensity, those
with the highest `take`s. A clip belongs to the first part with a rule that takes it. `apart` names,
for two parts, the columns that they must not share.
"""

import hashlib
import json
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.paths import data_root
from cdrl.corpora.check import concerns
from cdrl.corpora.manifest import COLUMNS, NUMBERS

PARTS = ("train", "choose", "report", "host")
KEYS = ("corpus", "what", "certainty", "parts", "apart", "drivers")
# Keys of a rule that are no columns.
RULE_KEYS = ("except", "last")


def split_folder() -> Path:
    """The folder of the committed splits."""
    return data_root() / "splits"


def split_names() -> list[str]:
    """The committed splits: mead_paper, mead_strict, ..."""
    return sorted(path.stem for path in split_folder().glob("*.json"))


def load_split(name: str | Path) -> dict:
    """A committed split by name, or one in a file of yours by path.

    Args:
        name: as in `split_names`, or the path of a .json file.

    Raises:
        InputError: for a name that is neither, or a file that is no split.
    """
    is_path = str(name).endswith(".json")
    path = Path(name) if is_path else split_folder() / f"{name}.json"
    if not path.is_file():
        accepted = ", ".join(split_names())
        raise InputError(f"no split {name}: accepted are {accepted} or the path of a .json file")
    split = _read_split(path)
    fault = _split_fault(split)
    if fault:
        example = split_folder() / "mead_paper.json"
        raise InputError(f"{path}: {fault}; an example is {example}")
    return split


def _read_split(path: Path) -> dict:
    """A split file's content, which has to be a mapping with parts."""
    example = split_folder() / "mead_paper.json"
    try:
        split = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: no split, it is not JSON ({error}); as in {example}") from error
    if not isinstance(split, dict) or not isinstance(split.get("parts"), dict):
        raise InputError(f"{path}: no split; it needs parts, as in {example}")
    return split


def _split_fault(split: dict) -> str:
    """What is wrong with a split, half a sentence; "" for nothing."""
    parts = split["parts"]
    unknown = set(split) - set(KEYS)
    unknown |= set(parts) - set(PARTS)
    for rules in parts.values():
        unknown |= _unknown_columns(rules)
    if unknown:
        return (
            f"unknown {', '.join(sorted(unknown))}; keys are {', '.join(KEYS)}, parts "
            f"{', '.join(PARTS)}, columns {', '.join(COLUMNS)}"
        )
    for part, rules in parts.items():
        if not isinstance(rules, list) or not rules:
            return f"part {part} is {_shown(rules)}; a list of rules is needed, at least one"
        for rule in rules:
            fault = _rule_fault(rule)
            if fault:
                return f"part {part}: {fault}"
    return _other_fault(split)


def _unknown_columns(rules: Any) -> set[str]:
    """Keys of a part's rules, and of their exceptions, that are no columns."""
    unknown: set[str] = set()
    for rule in rules if isinstance(rules, list) else []:
        if isinstance(rule, dict):
            unknown |= set(rule) - set(COLUMNS) - set(RULE_KEYS)
            exceptions = rule.get("except")
            if isinstance(exceptions, dict):
                unknown |= set(exceptions) - set(COLUMNS)
    return unknown


def _rule_fault(rule: Any) -> str:
    """What is wrong with one rule of a part."""
    if not isinstance(rule, dict):
        return f"{_shown(rule)} is no rule; a mapping of columns to lists is needed"
    if "last" in rule and not _is_count(rule["last"]):
        return f"last is {_shown(rule['last'])}; a whole number from 1 is needed"
    exceptions = rule.get("except", {})
    if not isinstance(exceptions, dict):
        return f"except is {_shown(exceptions)}; a mapping of columns to lists is needed"
    lists = {column: values for column, values in rule.items() if column not in RULE_KEYS}
    for column, values in [*lists.items(), *exceptions.items()]:
        if not isinstance(values, list) or not all(_fits(column, value) for value in values):
            kind = "whole numbers" if column in NUMBERS else "texts"
            return f"{column} is {_shown(values)}; a list of {kind} is needed"
    return ""


def _fits(column: str, value: Any) -> bool:
    """Whether a column of a manifest can hold a value."""
    if column in NUMBERS:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, str)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _other_fault(split: dict) -> str:
    """What is wrong beside the parts."""
    for key in ("corpus", "what"):
        if not isinstance(split.get(key, ""), str):
            return f"{key} is {_shown(split[key])}; a text is needed"
    drivers = split.get("drivers", {})
    if not isinstance(drivers, dict) or not all(isinstance(name, str) for name in drivers.values()):
        return f"drivers is {_shown(drivers)}; a mapping of actors to actors is needed"
    apart = split.get("apart", {})
    if not isinstance(apart, dict):
        return f"apart is {_shown(apart)}; a mapping of two parts to columns is needed"
    for pair, columns in apart.items():
        if not set(pair.split("|")) <= set(PARTS) or not isinstance(columns, list):
            return f"apart has {_shown({pair: columns})}; as train|report and a list of columns"
    return ""


def _shown(value: Any) -> str:
    """A value for a message; a long one is cut."""
    return repr(value)[:80]


def split_for(name: str | Path, clips: pd.DataFrame) -> dict:
    """The split of a manifest by name.

    "strict" is the corpus's committed strict split or, where it has none, `draw_split`.

    Args:
        name: "strict", or as in `load_split`.
        clips: the manifest.

    Raises:
        InputError: as `load_split` and `draw_split`.
    """
    if name != "strict":
        return load_split(name)
    committed = f"{clips['corpus'].iloc[0]}_strict"
    return load_split(committed) if committed in split_names() else draw_split(clips)


def parts_of(split: dict, clips: pd.DataFrame) -> pd.Series:
    """(C,) the part of each clip of a manifest; "" for a clip in none.

    Args:
        split: as `load_split` returns it.
        clips: the manifest.

    Raises:
        InputError: where the manifest is of another corpus, or no clip is in any part.
    """
    part = _parts(split, clips)
    if (part == "").all():
        description = split.get("what", "")
        raise InputError(f"none of {len(clips)} clips is in a part of this split: {description}")
    return part


def _parts(split: dict, clips: pd.DataFrame) -> pd.Series:
    """As `parts_of`; all clips may be in no part."""
    corpora = set(clips["corpus"])
    if split.get("corpus") and corpora != {split["corpus"]}:
        names = ", ".join(sorted(corpora))
        raise InputError(f"the split is of {split['corpus']}, the clips are of {names}")
    part_of_clip = pd.Series("", index=clips.index)
    for part, rules in split["parts"].items():
        is_free = (part_of_clip == "").to_numpy()
        is_taken = np.zeros(len(clips), bool)
        for rule in rules:
            is_taken |= _matches(rule, clips, is_free)
        part_of_clip[is_taken] = part
    return part_of_clip


def _matches(rule: dict, clips: pd.DataFrame, is_free: np.ndarray) -> np.ndarray:
    """(C,) bool: which clips a rule takes, of those that are in no earlier part."""
    is_taken = is_free.copy()
    for column, values in rule.items():
        if column not in RULE_KEYS:
            is_taken &= clips[column].isin(values).to_numpy()
    for column, values in rule.get("except", {}).items():
        is_taken &= ~clips[column].isin(values).to_numpy()
    if "last" in rule:
        ordered = clips[is_taken].sort_values("take")
        groups = ordered.groupby(["speaker", "emotion", "intensity"])
        is_taken &= clips.index.isin(groups.tail(rule["last"]).index)
    return is_taken


def draw_split(clips: pd.DataFrame) -> dict:
    """The strict split of any manifest.

    People and sentences of train are in no other part, people in one part each. Half of the people
    train, a fifth chooses, the rest reports; the sentences likewise, where three or more are said
    in two emotions, else choose and report share what train has not. The order is drawn by the
    names' hashes. Where no sentence is shared by emotions only people are kept apart.

    Args:
        clips: the manifest.

    Raises:
        InputError: below three speakers.
    """
    speakers = _in_hash_order(set(clips["speaker"]))
    if len(speakers) < 3:
        raise InputError(
            f"{len(speakers)} speakers: train, choose and report need one each; add people"
        )
    rules = {}
    for part, names in zip(PARTS, _divide(speakers), strict=False):
        rules[part] = {"speaker": sorted(names)}
    apart = {}
    for part, other in combinations(rules, 2):
        apart[f"{part}|{other}"] = ["speaker"]

    shared = _shared_sentences(clips)
    if len(shared) >= 2:
        _divide_sentences(shared, rules, apart)
    corpora = sorted(set(clips["corpus"]))
    return {
        "corpus": corpora[0] if len(corpora) == 1 else "",
        "what": "strict: drawn by the names' hashes",
        "parts": {part: [rule] for part, rule in rules.items()},
        "apart": apart,
    }


def _shared_sentences(clips: pd.DataFrame) -> list[str]:
    """The sentences that are said in several emotions."""
    table = pd.crosstab(clips["sentence"], clips["emotion"])
    num_emotions = (table > 0).sum(axis=1)
    return _in_hash_order(set(table.index[num_emotions > 1]))


def _divide_sentences(sentences: list[str], rules: dict, apart: dict) -> None:
    """Give the parts sentences of their own: added to their rules and to `apart`."""
    if len(sentences) > 2:
        _, choose, report = _divide(sentences)
    else:
        choose = sentences[1:]
        report = sentences[1:]
    rules["train"]["except"] = {"sentence": sorted({*choose, *report})}
    rules["choose"]["sentence"] = sorted(choose)
    rules["report"]["sentence"] = sorted(report)
    both = ["speaker", "sentence"]
    apart["train|choose"] = both
    apart["train|report"] = both
    apart["choose|report"] = ["speaker"] if set(choose) & set(report) else both


def _in_hash_order(names: set[str]) -> list[str]:
    return sorted(names, key=_hash_name)


def _hash_name(name: str) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()


def _divide(names: list[str]) -> tuple[list[str], list[str], list[str]]:
    """Half, a fifth, the rest; none of them empty for three names or more."""
    num_choose = max(1, len(names) // 5)
    num_train = max(1, min(len(names) // 2, len(names) - num_choose - 1))
    train = names[:num_train]
    choose = names[num_train : num_train + num_choose]
    report = names[num_train + num_choose :]
    return train, choose, report


def split_concerns(split: dict, clips: pd.DataFrame) -> list[str]:
    """What is wrong with a split of these clips.

    Args:
        split: as `load_split` returns it.
        clips: the manifest.

    Returns:
        A line for each: people or sentences in two parts, and the `concerns` of every part.
    """
    part = _parts(split, clips)
    lines = []
    present = [name for name in PARTS if (part == name).any()]
    for name, other in combinations(present, 2):
        for column in ("speaker", "sentence"):
            values = set(clips[column][part == name])
            shared = sorted(values & set(clips[column][part == other]))
            if shared:
                lines.append(f"{name} and {other} share {len(shared)} {column}s, e.g. {shared[0]}")
    for name in _named_parts(split):
        clips_of_part = clips[part == name]
        if not len(clips_of_part):
            lines.append(f"{name}: not one clip is here")
            continue
        for concern in concerns(clips_of_part):
            lines.append(f"{name}: {concern}")
    return lines


def _named_parts(split: dict) -> list[str]:
    """The parts that a split has, in the order of `PARTS`."""
    return [name for name in PARTS if name in split["parts"]]


def describe_split(name: str, split: dict, clips: pd.DataFrame) -> list[str]:
    """What a split makes of a manifest, in words.

    Args:
        name: of the split.
        split: as `load_split` returns it.
        clips: the manifest.

    Returns:
        Clips and speakers of each part in one line, then a line for each of `split_concerns`.
    """
    part = _parts(split, clips)
    sizes = []
    for part_name in _named_parts(split):
        clips_of_part = clips[part == part_name]
        num_speakers = clips_of_part["speaker"].nunique()
        sizes.append(f"{part_name} {len(clips_of_part)} clips of {num_speakers}")
    num_free = (part == "").sum()
    lines = [f"split {name}: {', '.join(sizes)} speakers, in none {num_free}"]
    for concern in split_concerns(split, clips):
        lines.append(f"beware of the split: {concern}")
    return lines
