"""Edits read by the evaluation networks: statistics of every score per clip, that rows and comparisons are made from."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.corpora.store import Store
from cdrl.evaluation import edit_scores, estimate
from cdrl.evaluation.edit_comparison import equal_accuracy, restore_statistics, single_judge
from cdrl.evaluation.judges import Judges
from cdrl.evaluation.lip_sync import FEWEST, SAMPLE_RATE, distances, load_syncnet, lse
from cdrl.models.image_editor import MAX_INTENSITY
from cdrl.studio import edits
from cdrl.studio.render import LANDMARKS

MOUTH_POINTS = [k for k, point in enumerate(LANDMARKS) if "lip" in point or "mouth" in point]
CURVE = (
    "emotion_accuracy",
    "mouth_error",
    "speech_correlation",
)  # what is read at every setting of the dial
LISTED = (
    "emotion_accuracy",
    "mouth_error",
    "mouth_correlation",
    "speech_correlation",
    "psnr",
    "mouth_l1",
    "identity",
    "jitter",
)


class Edits:
    """The edits to be made: E times a source clip, an emotion and a level.

    Args:
        report: store of the sources. wanted: what is asked for, a store or `cdrl.editing.requests.EditRequests`. sources: (E,) number of
            the source clip of each. size: pixels of the crops that are edited and judged.
    """

    def __init__(self, report: Store, requests, sources: np.ndarray, size: int):
        self.report, self.requests, self.sources, self.size = report, requests, sources, size
        self.speakers, self.target_emotions = (
            requests.clips.speaker.to_numpy(),
            requests.clips.emotion.to_numpy(),
        )

    def __len__(self) -> int:
        return len(self.sources)

    def source(self, edit: int) -> np.ndarray:
        """(T, S, S, 3) uint8: the source's crops."""
        return resized(self.report.face[self.report.frames(self.sources[edit])], self.size)

    def intensity(self, edit: int, dial: float = 1.0) -> float:
        """The level asked for, as a third for each, times the dial: at most the strongest that is accepted."""
        return min(float(self.requests.clips.intensity.iloc[edit]) / 3 * dial, MAX_INTENSITY)

    def frame_rate(self, edit: int) -> float:
        """Hz of the source clip."""
        return float(self.report.clips.frame_rate.iloc[self.sources[edit]])


class TrueEdits(Edits):
    """Edits and how they should look: E pairs of a source clip and its true edit.

    Args:
        report: store of the sources. wanted: store of the true edits. size: pixels of the crops that are edited and judged.
    """

    def __init__(self, report: Store, wanted: Store, size: int):
        number = {name: k for k, name in enumerate(report.clips.name)}
        super().__init__(
            report,
            wanted,
            np.array([number[edits.source_of(name)] for name in wanted.clips.name]),
            size,
        )

    def truth(self, edit: int) -> np.ndarray:
        """(T, S, S, 3) uint8: the true edit's crops."""
        return resized(self.requests.face[self.requests.frames(edit)], self.size)

    def another(self, edit: int, seed: int) -> np.ndarray:
        """(t, S, S, 3) uint8: every eighth crop of another clip of that person."""
        clips, source = self.report.clips, self.sources[edit]
        others = np.flatnonzero((clips.speaker == clips.speaker[source]) & (clips.index != source))
        chosen = int(np.random.default_rng([seed, 6, edit]).choice(others))
        return resized(self.report.face[self.report.frames(chosen)][::8], self.size)

    def boxes(self, edit: int) -> np.ndarray:
        """(T, 4) the mouth's box in the true edit."""
        points = self.requests.truth["landmarks"][self.requests.frames(edit)][:, MOUTH_POINTS]
        return edit_scores.mouth_box(points.astype(np.float32))


def resized(crops: np.ndarray, size: int) -> np.ndarray:
    """(T, C, C, 3) uint8 -> (T, size, size, 3) uint8, antialiased."""
    frames = torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2).float()
    small = torch.nn.functional.interpolate(
        frames, (size, size), mode="bilinear", antialias=True, align_corners=False
    )
    return small.round().clamp(0, 255).byte().permute(0, 2, 3, 1).numpy()


def tensor(frames: np.ndarray) -> torch.Tensor:
    """(T, H, W, 3) uint8 -> (T, 3, H, W) in [0, 1]."""
    return torch.from_numpy(np.array(frames)).permute(0, 3, 1, 2).float() / 255


def read_clip(judges: Judges, frames: np.ndarray, everything: bool = True) -> dict:
    """What the networks say of a clip's crops (T, S, S, 3) uint8; without `everything` not who it is."""
    images = tensor(frames)
    coefficients, landmarks = judges.track(images)
    heard = {
        name: SCORED_EMOTIONS[int(judges.emotion(name, images).argmax())]
        for name in ("judge_a", "judge_b")
    }
    who = {"identity": judges.identity(images).mean(0)} if everything else {}
    return {
        "curves": edit_scores.mouth_curves(coefficients),
        "landmarks": landmarks,
        **heard,
        **who,
    }


def read_references(edits_: TrueEdits, judges: Judges, seed: int = 0) -> dict:
    """What the networks say of source and true edit of every edit, one dict a clip, and of another true frame of each person, (E, D)."""
    found = {"source": [], "truth": [], "another": []}
    for k in tqdm(range(len(edits_)), desc="judging the truth", mininterval=2):
        found["source"].append(read_clip(judges, edits_.source(k)))
        found["truth"].append(read_clip(judges, edits_.truth(k)))
        found["another"].append(judges.identity(tensor(edits_.another(k, seed))).mean(0))
    return found | {"another": np.array(found["another"])}


def save_references(found: dict, path: Path) -> None:
    """Write `read_references` as one .npz of plain arrays, frames of all clips one after the other."""
    arrays = {
        "another": found["another"],
        "lengths": np.array([len(reading["curves"]) for reading in found["truth"]]),
    }
    for who in ("source", "truth"):
        for key in found[who][0]:
            values = [reading[key] for reading in found[who]]
            arrays[f"{who}.{key}"] = (
                np.concatenate(values) if key in ("curves", "landmarks") else np.array(values)
            )
    partial = Path(path).with_suffix(".partial.npz")
    partial.parent.mkdir(parents=True, exist_ok=True)
    np.savez(partial, **arrays)
    partial.replace(path)


def lip_sync_measures(
    outputs: Callable[[int], np.ndarray], edits_: Edits, syncnet: str, title: str
) -> dict:
    """{"lse_d", "lse_c"}: how well edits keep time with the source's sound, as measures over clips; those under six frames are skipped.

    Args:
        outputs: number of an edit -> (T, S, S, 3) uint8. syncnet: file of the weights; nothing is measured where it is empty.
    """
    if not syncnet:
        return {}
    network, found = load_syncnet(syncnet), np.full((len(edits_), 2), np.nan)
    for k in tqdm(range(len(edits_)), desc=f"lip sync of {title}", mininterval=2):
        frames, sound, rate = (
            outputs(k),
            edits_.report.sound(int(edits_.sources[k])),
            edits_.frame_rate(k),
        )
        if min(len(frames), len(sound) * rate / SAMPLE_RATE) >= FEWEST:
            found[k] = lse(distances(network, frames, sound, rate))
    return {
        name: estimate.mean_statistics(values)
        for name, values in zip(("lse_d", "lse_c"), found.T, strict=True)
    }


def load_references(path: Path) -> dict:
    """`read_references` as it was saved."""
    with np.load(path) as arrays:
        ends = np.cumsum(arrays["lengths"])[:-1]
        found = {"another": arrays["another"]}
        for who in ("source", "truth"):
            names = [name for name in arrays.files if name.startswith(f"{who}.")]
            parts = {
                n.partition(".")[2]: np.split(arrays[n], ends)
                if len(arrays[n]) != len(ends) + 1
                else list(arrays[n])
                for n in names
            }
            found[who] = [
                dict(zip(parts, values, strict=True))
                for values in zip(*parts.values(), strict=True)
            ]
    return found


def edit_statistics(
    outputs: Callable[[int], np.ndarray],
    edits_: TrueEdits,
    references: dict,
    judges: Judges,
    title: str,
    names=LISTED,
) -> dict:
    """Every score's statistics per clip, {score: (E, M)}: what intervals, differences and means over seeds are made from.

    Args:
        outputs: number of an edit -> (T, S, S, 3) uint8, its crops. references: of `read_references`. names: scores to read.
    """
    mine, pictures = [], {"psnr": [], "mouth_l1": []}
    for k in tqdm(range(len(edits_)), desc=title, mininterval=2):
        frames = outputs(k)
        mine.append(read_clip(judges, frames, "identity" in names))
        if "psnr" in names:
            truth = edits_.truth(k)
            pictures["psnr"].append(edit_scores.psnr(frames, truth))
            pictures["mouth_l1"].append(edit_scores.mouth_l1(frames, truth, edits_.boxes(k)))
    return statistics_from_readings(mine, edits_, references, names) | {
        name: estimate.mean_statistics(values).rows for name, values in pictures.items() if values
    }


def statistics_from_readings(
    mine: list[dict], edits_: TrueEdits, references: dict, names=CURVE
) -> dict:
    """`statistics`, {score: (E, M)}, of clips that were read before; those of the picture are left out."""
    pick = lambda readings, key: [reading[key] for reading in readings]  # noqa: E731
    truth, source = references["truth"], references["source"]
    makers = {
        "emotion_accuracy": lambda: edit_scores.emotion_accuracy(
            pick(mine, "judge_a"), pick(mine, "judge_b"), edits_.target_emotions
        ),
        "mouth_error": lambda: edit_scores.mouth_error(pick(mine, "curves"), pick(truth, "curves")),
        "mouth_correlation": lambda: edit_scores.mouth_correlation(
            pick(mine, "curves"), pick(truth, "curves")
        ),
        "speech_correlation": lambda: edit_scores.speech_correlation(
            pick(mine, "curves"), pick(source, "curves")
        ),
        "identity": lambda: edit_scores.identity(
            *(np.array(pick(r, "identity")) for r in (mine, truth)),
            references["another"],
            edits_.speakers,
        ),
        "jitter": lambda: edit_scores.jitter(pick(mine, "landmarks"), pick(source, "landmarks")),
    }
    return {name: makers[name]().rows for name in names if name in makers}


def estimate_variant(
    prefix: str, found: dict, references: dict, edits_: TrueEdits, seed: int = 0, times: int = 1
) -> dict:
    """All rows of one variant, see `cdrl.evaluation.edit_scores`.

    Args:
        found: {score: (E, M)} of `statistics`, or of several seeds one after the other. times: so many seeds.
    """
    speakers, target = np.tile(edits_.speakers, times), np.tile(edits_.target_emotions, times)
    measures = {
        name: restore_statistics(name, sums)
        for name, sums in found.items()
        if name != "emotion_accuracy"
    }
    rows = edit_scores.estimate_per_emotion(prefix, measures, speakers, target, seed)
    if "emotion_accuracy" not in found:
        return rows
    heard = tuple(np.where(found["emotion_accuracy"][:, k] > 0, target, "") for k in (0, 1))
    truth = tuple(
        np.tile([reading[judge] for reading in references["truth"]], times)
        for judge in ("judge_a", "judge_b")
    )
    return rows | edit_scores.estimate_emotion_accuracy(
        prefix, heard, truth, target, speakers, seed
    )


def parse_intensity_scales(text: str) -> list[float]:
    """The settings of a dial, in order; 1, the level asked for, is always among them.

    Raises:
        InputError: for anything but numbers above 0 that the generator accepts.

    >>> parse_intensity_scales("1.5, 0.5")
    [0.5, 1.0, 1.5]
    """
    try:
        found = {float(part) for part in text.split(",") if part.strip()} | {1.0}
    except ValueError:
        found = {0.0}
    if not all(0 < dial <= MAX_INTENSITY for dial in found):
        raise InputError(
            f"sweep={text}: numbers above 0 up to {MAX_INTENSITY:g} are accepted, as in sweep=0.5,1.5"
        )
    return sorted(found)


def sweep_intensity(
    nothing: dict,
    plain: dict,
    dials: list[float],
    edit: Callable,
    edits_: TrueEdits,
    references: dict,
    judges: Judges,
    title: str,
) -> list:
    """Statistics {score: (E, M)} with nothing done and at every setting of the dial.

    Args:
        nothing, plain: those of the source, and those at 1, which are there already. edit: (number of an edit, dial) -> its
            crops (T, S, S, 3) uint8.
    """
    read = lambda d: edit_statistics(
        lambda k: edit(k, d), edits_, references, judges, f"{title} at {d:g}", CURVE
    )  # noqa: E731
    return [nothing, *(plain if dial == 1 else read(dial) for dial in dials)]


def estimate_intensity_curve(prefix: str, dials: list[float], curve: list[dict]) -> dict:
    """`PREFIX.scale_050.mouth_error` and the like: each score at each setting of the dial; curve: one {score: (C, M)} a setting."""
    return {
        f"{prefix}.scale_{round(100 * dial):03d}.{name}": estimate.Estimate(
            restore_statistics(name, found[name]).value
        )
        for dial, found in zip(dials, curve, strict=True)
        for name in CURVE
    }


def estimate_at_equal_accuracy(
    prefix: str,
    first: list,
    second: list,
    clips: np.ndarray,
    seed: int = 0,
    name: str = "mouth_error",
) -> dict:
    """`PREFIX.NAME.at_equal_accuracy` and `.over_accuracies`, and both for either judge alone (`.judge_1`, `.judge_2`).

    Args:
        first, second: for each weight that was trained with, statistics {score: (C, M)} at each setting of the dial, the source
            first. clips: (C,) what is drawn again.
    """
    rows = {}
    for suffix, judge in (("", None), (".judge_1", 0), (".judge_2", 1)):
        points = [
            [[_point(found, judge) for found in curve] for curve in family]
            for family in (first, second)
        ]
        cells = equal_accuracy(*points, clips, seed)
        rows[f"{prefix}.{name}.at_equal_accuracy{suffix}"] = cells["at_best"]
        rows[f"{prefix}.{name}.over_accuracies{suffix}"] = cells["over_accuracies"]
    return rows


def _point(found: dict, judge: int | None) -> tuple:
    """(accuracy of one judge or of the lower one, mouth error) at one setting of the dial."""
    accuracy = restore_statistics("emotion_accuracy", found["emotion_accuracy"])
    return accuracy if judge is None else single_judge(accuracy, judge), restore_statistics(
        "mouth_error", found["mouth_error"]
    )
