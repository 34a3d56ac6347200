"""What notebook 00 shows of a corpus, generated or not."""

from pathlib import Path

import numpy as np
from PIL import Image

from cdrl.core.settings import stage_folder
from cdrl.core.vocabulary import PHONEMES
from cdrl.corpora.store import Store
from cdrl.corpora.time_warp import runs
from cdrl.editing.pipeline import edit_clip, load_editor
from cdrl.media.encoding import write_video
from cdrl.stages.s00_corpus import has_truth
from cdrl.studio.edits import source_of

SIDE = 224  # pixels of a face in the first film


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
        sheet[names.index(row.speaker), emotions.index(row.emotion)] = store.face[
            row.start + row.num_frames // 2
        ]
    return sheet, names, emotions, int(chosen.index[0])


def spoken(store: Store, clip: int) -> list[tuple[float, float, str]]:
    """(start, end, phoneme) of a clip, seconds; nothing where the phone times are not known."""
    if "phoneme" not in store.truth:
        return []
    names, edges = runs(store.truth["phoneme"][store.frames(clip)])
    times = (edges / store.clips.frame_rate[clip]).round(3).tolist()
    return [(start, end, PHONEMES[name]) for name, start, end in zip(names, times, times[1:])]


def clip_strip(store: Store, clip: int, columns: int = 8) -> tuple[np.ndarray, list[str]]:
    """(1, columns, C, C, 3) frames of a clip, evenly spread, and when each is shown."""
    rows = np.linspace(0, store.clips.num_frames[clip] - 1, columns).astype(int)
    return store.face[store.frames(clip)][rows][None], [
        f"{row / store.clips.frame_rate[clip]:.1f} s" for row in rows
    ]


def middle_frames(store: Store) -> tuple[np.ndarray, list[str]]:
    """(1, N, C, C, 3) the middle frame of each of N clips, and their emotions."""
    rows = (store.clips.start + store.clips.num_frames // 2).to_numpy()
    return np.asarray(store.face)[rows][None], list(store.clips.emotion)


def edit_strip(run: Path, columns: int = 8) -> tuple[np.ndarray, list[str]]:
    """Frames of a source clip above the same moments edited by the committed generator, and of its true edit.

    Returns:
        (3, columns, C, C, 3) pictures, and the names of the rows; of a real corpus the source alone.
    """
    names, films, _ = _first_edit(run)
    rows = np.linspace(0, len(films[0]) - 1, columns).astype(int)
    return np.stack([film[rows] for film in films]), names


def edit_film(run: Path) -> Path:
    """The films of `edit_strip` side by side, with the source's sound: `tour.mp4` in the corpus's folder."""
    path = stage_folder(run, "corpus") / "tour.mp4"
    if not path.exists():
        names, films, sound = _first_edit(run)
        large = [
            np.stack(
                [
                    np.asarray(Image.fromarray(frame).resize((SIDE, SIDE), Image.LANCZOS))
                    for frame in film
                ]
            )
            for film in films
        ]
        rate = float(Store(stage_folder(run, "corpus") / "report").clips.frame_rate[0])
        write_video(
            path,
            np.concatenate(large, 2),
            rate,
            sound,
            {"comment": f"synthetic: {'; '.join(names)}"},
        )
    return path


def _first_edit(run: Path) -> tuple[list[str], list[np.ndarray], np.ndarray]:
    """Names and crops, (T, C, C, 3) each, of a source, its edit by the committed generator and its true edit; and the sound."""
    report = Store(stage_folder(run, "corpus") / "report")
    if not has_truth(run):
        names = [f"{report.clips.emotion[0]}: no true edit of a real clip exists"]
        return names, [np.asarray(report.face[report.frames(0)])], report.sound(0)
    edits = Store(stage_folder(run, "corpus") / "edits")
    source = int(np.flatnonzero(report.clips.name == source_of(edits.clips.name[0]))[0])
    wanted, crops = edits.clips.iloc[0], np.asarray(report.face[report.frames(source)])
    edited = edit_clip(load_editor(), crops, wanted.emotion, wanted.intensity / 3)
    names = [
        f"source: {report.clips.emotion[source]}",
        f"edit: {wanted.emotion}",
        f"true edit: {wanted.emotion}",
    ]
    return names, [crops, edited, np.asarray(edits.face[edits.frames(0)])], report.sound(source)
