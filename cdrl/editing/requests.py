"""The edits that are asked for on a real corpus: whose clip, into what, after whom. No true edit of them exists."""

from pathlib import Path

import numpy as np
import pandas as pd

from cdrl.core.settings import stage_folder
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.corpora.store import Store


class EditRequests:
    """Edits to make, as a store of true edits would list them, without pictures.

    Attributes:
        clips: name, speaker, emotion, intensity, protocol, reference, num_frames of each edit. truth: empty.
    """

    def __init__(self, table: pd.DataFrame, sources: Store):
        counts = sources.clips["num_frames"].to_numpy()[table["source"].to_numpy()]
        self.clips = table.assign(num_frames=counts, start=np.cumsum(counts) - counts)
        self.truth = {}

    def frames(self, edit: int) -> slice:
        """Rows of edit number `edit` among all edited frames."""
        row = self.clips.iloc[edit]
        return slice(int(row.start), int(row.start + row.num_frames))


def load_requests(run: Path) -> tuple[Store, EditRequests, np.ndarray]:
    """The reporting store, the edits asked for, and (E,) the source clip of each."""
    folder = stage_folder(run, "corpus")
    report, table = Store(folder / "report"), pd.read_parquet(folder / "edits.parquet")
    return report, EditRequests(table, report), table["source"].to_numpy()


def plan_edits(stores: dict, number: int, drivers: dict, seed: int = 0) -> pd.DataFrame:
    """Which clips to edit into what.

    Args:
        stores: `train`, `report` and perhaps `host`. number: edits; of a protocol that has more, so many evenly spread.
        drivers: of the paper's split, actor -> the actor whose clips ask for the emotion; empty: sources and targets are drawn.

    Returns:
        source (clip number), name, speaker, emotion, intensity, reference (name of the clip that asks), protocol: `drawn`, or
        as the paper `intra` (a test clip, asked for its own emotion) and `cross` (a neutral test clip, asked for the
        emotion of each of the driver's test clips).
    """
    clips = stores["report"].clips
    rows = (
        _protocol(clips, drivers)
        if drivers
        else _drawn(clips, stores.get("host", stores["train"]).clips, number, seed)
    )
    if len(rows) > number:
        rows = [rows[k] for k in np.linspace(0, len(rows) - 1, number).astype(int)]
    table = pd.DataFrame(rows, columns=["source", "emotion", "intensity", "reference", "protocol"])
    names = [
        f"{clips.name[s]}->{e}-{i}"
        for s, e, i in zip(table.source, table.emotion, table.intensity, strict=True)
    ]
    return table.assign(name=names, speaker=clips.speaker.to_numpy()[table.source])


def _drawn(clips: pd.DataFrame, learnt: pd.DataFrame, number: int, seed: int) -> list[tuple]:
    """As in the studio: targets in turn, people in turn, never a clip's own emotion."""
    random, found = np.random.default_rng([seed, 9303]), []
    targets = [name for name in SCORED_EMOTIONS if (learnt.emotion == name).any()]
    people = sorted(set(clips.speaker))
    for k in range(number):
        target, person = targets[k % len(targets)], people[(k + k // len(targets)) % len(people)]
        fitting = np.flatnonzero((clips.speaker == person) & (clips.emotion != target))
        level = 1 if target == "neutral" else 3
        if len(fitting):
            found.append((int(random.choice(fitting)), target, level, "", "drawn"))
    return found


def _protocol(clips: pd.DataFrame, drivers: dict) -> list[tuple]:
    columns = zip(clips["emotion"], clips["intensity"], clips["name"], strict=True)
    intra = [
        (k, emotion, int(level), name, "intra") for k, (emotion, level, name) in enumerate(columns)
    ]
    cross = []
    for actor, driver in sorted(drivers.items()):
        sources = np.flatnonzero((clips.speaker == actor) & (clips.emotion == "neutral"))
        for emotion in SCORED_EMOTIONS:
            asking = clips[(clips.speaker == driver) & (clips.emotion == emotion)]
            for turn, source in enumerate(sources if len(asking) else ()):
                reference = asking.iloc[turn % len(asking)]
                cross.append(
                    (int(source), emotion, int(reference.intensity), reference["name"], "cross")
                )
    return intra + cross
