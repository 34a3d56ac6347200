"""The edit half of the study summed up: means over the seeds, intervals, paired differences, the mouth at equal emotion accuracy."""

from pathlib import Path

import numpy as np
import pandas as pd

from cdrl.core.files import read_json
from cdrl.core.settings import StudyConfig
from cdrl.evaluation import estimate
from cdrl.evaluation.edit_comparison import difference_rows, measure_of
from cdrl.evaluation.edit_evaluation import (
    LISTED,
    curve_rows,
    equal_accuracy_rows,
    load_references,
    variant_rows,
)
from cdrl.study.edit_jobs import edit_job_path, edit_place, opened
from cdrl.study.rows import EDIT

# What each term buys, and whether ours is worth more than the released form and than no network at all.
COMPARED = (
    ("cdrl", "baseline"),
    ("content", "baseline"),
    ("emotion", "baseline"),
    ("cdrl", "emotion"),
    ("cdrl", "content"),
    ("cdrl", "released"),
    ("released", "baseline"),
    ("cdrl", "constant"),
    ("cdrl", "paired"),
    ("cdrl_fivefold", "baseline"),
    ("cdrl_fivefold", "cdrl"),
)
# The coefficient host drawn on pixels beside the image host, and beside no network at all.
ACROSS = (("drawn.cdrl", "image.cdrl"), ("drawn.cdrl", "image.constant"))
# What baseline and cdrl were trained with besides: as many weights for each.
FURTHER = ("half", "double")


def edit_summary(work: Path, config: StudyConfig, jobs: list) -> tuple[dict, dict]:
    """Scores of all edit jobs that are done, and the tables of variants and of differences.

    Returns:
        scores: `spfem.HOST.VARIANT.NAME` mean over the seeds with sd, least, most, seeds, and the interval over speakers of all
        seeds together; `spfem.HOST.A_minus_B.NAME` paired over clips. tables: `edit`, `edit_differences`.
    """
    place = edit_place(work, config)
    done = [(name, seed) for _, name, seed in jobs if edit_job_path(place, name, seed).exists()]
    if not done:
        return {}, {}
    edits, references, scores = opened(work, config), load_references(place / "references.npz"), {}
    found = {
        name: {seed: _statistics(place, name, seed) for other, seed in done if other == name}
        for name, _ in done
    }
    for name, seeds in found.items():
        scores |= _variant(place, name, seeds, references, edits)
    for host in dict.fromkeys(name.partition(".")[0] for name in found):
        for pair in COMPARED:
            both = [found.get(f"{host}.{variant}") for variant in pair]
            if all(both):
                # For each emotion by itself too, and with every weight: the first pair alone.
                scores |= _difference(
                    f"spfem.{host}.{'_minus_'.join(pair)}",
                    *both,
                    edits,
                    EDIT[f"{host}.{pair[1]}"].seeded,
                    pair == COMPARED[0],
                )
        families = [
            [found.get(f"{host}.{variant}{end}") for end in ("", *(f"_{name}" for name in FURTHER))]
            for variant in COMPARED[0]
        ]
        if all(map(all, families)):
            scores |= _any_weight(f"spfem.{host}.{'_minus_'.join(COMPARED[0])}", *families, edits)
    for first, second in ACROSS:
        if first in found and second in found:
            prefix = f"spfem.{first}_minus_{second.replace('.', '_')}"
            scores |= _difference(
                prefix, found[first], found[second], edits, EDIT[second].seeded, False
            )
    return scores, {"edit": _table(scores, found), "edit_differences": _differences(scores)}


def _statistics(place: Path, name: str, seed: int) -> dict:
    """{dial: {score: (E, M)}} of one job."""
    kept = {}
    with np.load(edit_job_path(place, name, seed).with_suffix(".npz")) as arrays:
        for key in arrays.files:
            dial, score = key.split("/")
            kept.setdefault(float(dial), {})[score] = arrays[key]
    return kept


def _pooled(seeds: list[dict], dial: float) -> dict:
    """{score: (seeds x E, M)} at one setting of the dial, the seeds one after the other."""
    return {
        score: np.concatenate([kept[dial][score] for kept in seeds]) for score in seeds[0][dial]
    }


def _variant(place: Path, name: str, seeds: dict, references: dict, edits) -> dict:
    prefix, kept, each = (
        f"spfem.{name}",
        list(seeds.values()),
        [read_json(edit_job_path(place, name, seed))["scores"] for seed in seeds],
    )
    scores = estimate.lines(
        variant_rows(prefix, _pooled(kept, 1.0), references, edits, times=len(kept))
    )
    for key in each[0]:
        values = [one[key] for one in each if one[key] is not None]
        if values and not key.endswith((".low", ".high", ".n")):
            scores[key] = float(np.mean(values))
            scores |= _spread(key, values) if f"{key}.n" in each[0] else {}
        elif key.endswith(".n"):
            scores[key] = each[0][key]  # clips, not clips times seeds
    curve = [_pooled(kept, dial) for dial in sorted(kept[0])]
    return scores | (
        estimate.lines(curve_rows(prefix, sorted(kept[0]), curve)) if len(curve) > 1 else {}
    )


def _spread(key: str, values: list[float]) -> dict:
    many = (
        {}
        if len(values) < 2
        else {
            f"{key}.sd": float(np.std(values, ddof=1)),
            f"{key}.least": min(values),
            f"{key}.most": max(values),
        }
    )
    return many | {f"{key}.seeds": len(values)}


def _difference(
    prefix: str, first: dict, second: dict, edits, seeded: bool, by_emotion: bool
) -> dict:
    """Seeds that both have; a variant without seeds stands beside each of the other's."""
    seeds = sorted(first.keys() & second.keys() if seeded else first)
    if not seeds:
        return {}
    one, two = ([kept.get(seed, kept[min(kept)]) for seed in seeds] for kept in (first, second))
    clips, target = (
        np.tile(np.arange(len(edits)), len(seeds)),
        np.tile(edits.target, len(seeds)) if by_emotion else (),
    )
    measured = [
        {score: measure_of(score, sums) for score, sums in _pooled(kept, 1.0).items()}
        for kept in (one, two)
    ]
    scores = estimate.lines(difference_rows(prefix, *measured, clips, target))
    for score in measured[0].keys() & measured[1].keys():
        apart = [
            measure_of(score, a[1.0][score]).value - measure_of(score, b[1.0][score]).value
            for a, b in zip(one, two, strict=True)
        ]
        scores |= _spread(f"{prefix}.{score}", apart)
    dials = sorted(one[0].keys() & two[0].keys())
    curves = [[[_pooled(kept, dial) for dial in dials]] for kept in (one, two)]
    return scores | estimate.lines(equal_accuracy_rows(prefix, *curves, clips))


def _any_weight(prefix: str, first: list[dict], second: list[dict], edits) -> dict:
    """The mouth at equal accuracy where each variant may use the best of its weights; seeds that all of them have."""
    seeds = sorted(set.intersection(*(set(kept) for kept in (*first, *second))))
    if not seeds:
        return {}
    dials = sorted(first[0][seeds[0]])
    curves = [
        [[_pooled([kept[seed] for seed in seeds], dial) for dial in dials] for kept in family]
        for family in (first, second)
    ]
    return estimate.lines(
        equal_accuracy_rows(
            prefix,
            *curves,
            np.tile(np.arange(len(edits)), len(seeds)),
            name="mouth_error.any_weight",
        )
    )


def _table(scores: dict, names) -> pd.DataFrame:
    """One line a variant: every score with its interval, and sd over the seeds."""
    lines = []
    for name in names:
        cells = {"row": name, "seeds": scores.get(f"spfem.{name}.mouth_error.seeds")}
        for score in LISTED:
            key = f"spfem.{name}.{score}"
            if key in scores:
                cells |= {score: round(scores[key], 4)} | {
                    f"{score}.{part}": round(scores[f"{key}.{part}"], 4)
                    for part in ("low", "high", "sd")
                    if f"{key}.{part}" in scores
                }
        lines.append(cells)
    return pd.DataFrame(lines)


def _differences(scores: dict) -> pd.DataFrame:
    """One line a difference of two variants: value, interval, p, number of clips."""
    lines = []
    for key in scores:
        if "_minus_" in key and f"{key}.p" in scores and not key.endswith((".judge_1", ".judge_2")):
            cells = {
                part: scores[f"{key}.{part}"]
                for part in ("low", "high", "p", "n", "sd", "accuracy")
                if f"{key}.{part}" in scores
            }
            lines.append({"row": key, "value": scores[key], **cells})
    return pd.DataFrame(lines).round(4)
