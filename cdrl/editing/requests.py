"""The edits that are requested on a real corpus: of which clip, to which emotion, after whom.

No true edit of them exists.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from cdrl.core.files import damaged
from cdrl.core.settings import stage_folder
from cdrl.core.tables import check_whole_numbers, read_table
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.corpora.store import Store

STRONGEST_LEVEL = 3


class Request(NamedTuple):
    """One edit to make.

    Attributes:
        source: number of the clip.
        emotion: to edit it to.
        intensity: level 1 to 3.
        reference: name of the clip that asks for the emotion; empty where it is drawn.
        protocol: `drawn`, or of the paper `intra` or `cross`.
    """

    source: int
    emotion: str
    intensity: int
    reference: str
    protocol: str


class EditRequests:
    """Edits to make, as a store of true edits would list them, without pictures.

    Attributes:
        clips: name, speaker, emotion, intensity, protocol, reference, num_frames of each edit.
        truth: empty.

    Args:
        table: of `plan_edits`.
        sources: store of the source clips.
    """

    def __init__(self, table: pd.DataFrame, sources: Store):
        source = table["source"].to_numpy()
        clip_lengths = sources.clips["num_frames"].to_numpy()

        counts = clip_lengths[source]
        starts = np.cumsum(counts) - counts

        self.clips = table.assign(num_frames=counts, start=starts)
        self.truth: dict[str, np.ndarray] = {}

    def frames(self, edit: int) -> slice:
        """Rows of edit number `edit` among all edited frames."""
        row = self.clips.iloc[edit]
        return slice(int(row.start), int(row.start + row.num_frames))


def load_requests(run: Path) -> tuple[Store, EditRequests, np.ndarray]:
    """What a run is to edit.

    Args:
        run: its folder.

    Returns:
        The reporting store, the requested edits, and (E,) the source clip of each.
    """
    folder = stage_folder(run, "corpus")
    report = Store(folder / "report")
    file = folder / "edits.parquet"
    table = read_table(file, (*Request._fields, "name", "speaker"))
    check_whole_numbers(file, table, ("source", "intensity"))
    if len(table) and table["source"].max() >= len(report.clips):
        raise damaged(file, "a source is none of the reporting clips")
    return report, EditRequests(table, report), table["source"].to_numpy()


def plan_edits(
    stores: dict[str, Store], number: int, drivers: dict[str, str], seed: int = 0
) -> pd.DataFrame:
    """Which clips to edit to which emotion.

    Args:
        stores: `train`, `report` and perhaps `host`, the clips that the editors learn from where
            the split gives them clips of their own.
        number: of edits; of a protocol that has more, so many evenly spread.
        drivers: of the paper's split, actor -> the actor whose clips ask for the emotion; empty:
            sources and targets are drawn.
        seed: of the draw.

    Returns:
        source (clip number), name, speaker, emotion, intensity, reference (name of the clip that
        asks), protocol: `drawn`, or as the paper `intra` (a test clip, asked for its own emotion)
        and `cross` (a neutral test clip, asked for the emotion of each of the driver's test clips).
    """
    clips = stores["report"].clips

    if drivers:
        requests = _intra_requests(clips) + _cross_requests(clips, drivers)
    else:
        learnt = stores.get("host", stores["train"]).clips
        requests = _draw_requests(clips, set(learnt.emotion), number, seed)

    if len(requests) > number:
        evenly_spread = np.linspace(0, len(requests) - 1, number).astype(int)
        requests = [requests[index] for index in evenly_spread]

    names = []
    for request in requests:
        source = clips.name[request.source]
        names.append(f"{source}->{request.emotion}-{request.intensity}")

    table = pd.DataFrame(requests, columns=list(Request._fields))
    speakers = clips.speaker.to_numpy()[table.source]
    return table.assign(name=names, speaker=speakers)


def _draw_requests(clips: pd.DataFrame, learnt: set[str], number: int, seed: int) -> list[Request]:
    """As in the studio: targets in turn, people in turn, never a clip's own emotion."""
    random = np.random.default_rng([seed, 9303])
    targets = [name for name in SCORED_EMOTIONS if name in learnt]
    people = sorted(set(clips.speaker))

    requests = []
    for turn in range(number):
        target = targets[turn % len(targets)]
        level = 1 if target == "neutral" else STRONGEST_LEVEL
        round_number = turn // len(targets)
        person = people[(turn + round_number) % len(people)]

        is_source = (clips.speaker == person) & (clips.emotion != target)
        sources = np.flatnonzero(is_source)
        if len(sources):
            source = int(random.choice(sources))
            requests.append(Request(source, target, level, "", "drawn"))
    return requests


def _intra_requests(clips: pd.DataFrame) -> list[Request]:
    """Every test clip, asked for its own emotion."""
    requests = []
    for number in range(len(clips)):
        clip = clips.iloc[number]
        level = int(clip.intensity)

        request = Request(number, clip.emotion, level, clip["name"], "intra")
        requests.append(request)
    return requests


def _cross_requests(clips: pd.DataFrame, drivers: dict[str, str]) -> list[Request]:
    """Every neutral test clip of an actor, asked for the emotions of the driver's test clips."""
    requests = []
    for actor, driver in sorted(drivers.items()):
        is_source = (clips.speaker == actor) & (clips.emotion == "neutral")
        driver_clips = clips[clips.speaker == driver]
        for emotion in SCORED_EMOTIONS:
            references = driver_clips[driver_clips.emotion == emotion]
            if not len(references):
                continue

            for turn, source in enumerate(np.flatnonzero(is_source)):
                reference = references.iloc[turn % len(references)]
                level = int(reference.intensity)
                name = reference["name"]
                requests.append(Request(int(source), emotion, level, name, "cross"))

    return requests
