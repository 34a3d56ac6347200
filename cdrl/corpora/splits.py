"""Who trains, who chooses, who reports: split files, and a split drawn for any corpus.

Split files are `data/splits/NAME.json`. A split has `parts`: {part: [rule, ...]} in order. A rule
maps columns of a manifest to the accepted values, all of which must hold; `except` maps columns to
values that must not; `last` takes only so many clips of each speaker, emotion and intensity, those
with the highest `take`s. A clip belongs to the first part with a rule that takes it. `apart` names,
for two parts, the columns that they must not share.
"""

import hashlib
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.files import read_json
from cdrl.core.paths import data_root
from cdrl.corpora.check import concerns
from cdrl.corpora.manifest import COLUMNS

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
    try:
        split = read_json(path)
        parts = split["parts"]
        columns = _columns_of_rules(parts)
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        example = split_folder() / "mead_paper.json"
        raise InputError(f"{path}: no split; it needs parts, as in {example}") from error

    unknown = set(split) - set(KEYS)
    unknown |= set(parts) - set(PARTS)
    unknown |= columns - set(COLUMNS) - set(RULE_KEYS)
    if unknown:
        raise InputError(
            f"{path}: unknown {', '.join(sorted(unknown))}; keys are {', '.join(KEYS)}, parts "
            f"{', '.join(PARTS)}, columns {', '.join(COLUMNS)}"
        )
    return split


def _columns_of_rules(parts: dict) -> set[str]:
    """All keys of the rules and of their exceptions."""
    columns: set[str] = set()
    for rules in parts.values():
        for rule in rules:
            columns.update(rule)
            columns.update(rule.get("except", ()))
    return columns


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
