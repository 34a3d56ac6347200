"""What notebook 00 shows of a corpus, generated or not."""

from pathlib import Path

import numpy as np

from cdrl.config import stage_folder
from cdrl.data.store import Store
from cdrl.pipeline.corpora import source_of
from cdrl.pipeline.said import has_truth


def corpus_sheet(store: Store, people: int = 4) -> tuple[np.ndarray, list[str], list[str], int]:
    """One sentence as some people say it in every emotion: middle frames.

    Returns:
        (people, emotions, C, C, 3) pictures, black where nobody acted it; names of rows and columns; number of one of the clips.
        The sentence is the one that most emotions share.
    """
    clips = store.clips
    said = clips.groupby("sentence", sort=False)["emotion"].nunique()
    sentence = said.idxmax()
    chosen = clips[clips.sentence == sentence]
    names, emotions = list(chosen.speaker.unique()[:people]), sorted(chosen.emotion.unique())
    sheet = np.zeros((len(names), len(emotions), *store.face.shape[1:]), np.uint8)
    for row in chosen[chosen.speaker.isin(names)].itertuples():
        sheet[names.index(row.speaker), emotions.index(row.emotion)] = store.face[row.start + row.num_frames // 2]
    return sheet, names, emotions, int(chosen.index[0])


def edit_strip(run: Path, columns: int = 8) -> tuple[np.ndarray, list[str]]:
    """Frames of a source clip above the same moments of its true edit; of a real corpus the source alone.

    Returns:
        (2 or 1, columns, C, C, 3) pictures, and the names of the rows.
    """
    report = Store(stage_folder(run, "corpus") / "report")
    if not has_truth(run):
        rows = np.linspace(report.frames(0).start, report.frames(0).stop - 1, columns).astype(int)
        return np.asarray(report.face)[rows][None], [f"{report.clips.emotion[0]}: no true edit of a real clip exists"]
    edits = Store(stage_folder(run, "corpus") / "edits")
    source = int(np.flatnonzero(report.clips.name == source_of(edits, 0))[0])
    rows = np.linspace(0, edits.clips.num_frames[0] - 1, columns).astype(int)
    pair = np.stack([report.face[report.frames(source)][rows], edits.face[edits.frames(0)][rows]])
    return pair, [f"source: {report.clips.emotion[source]}", f"true edit: {edits.clips.emotion[0]}"]
