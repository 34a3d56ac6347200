"""What notebook 00 shows of a corpus, generated or not."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from cdrl.core.settings import stage_folder
from cdrl.core.vocabulary import PHONEMES
from cdrl.corpora.dtw import label_runs
from cdrl.corpora.store import Store
from cdrl.editing.pipeline import edit_clip
from cdrl.editors.loading import load_editor
from cdrl.media.encoding import write_video
from cdrl.media.faces import align, crop
from cdrl.stages.s00_corpus import has_truth
from cdrl.studio.acting import act
from cdrl.studio.corpus import name_of, render_performance, smoke_specs
from cdrl.studio.edits import source_of

FILM_SIZE = 224  # pixels of a face in the first film
RENDERED_SIZE = 256  # pixels of the frame that the first edit is made of
LEVELS = 3  # intensity 1 is level 3


def first_edit(emotions: Sequence[str], frames: int = 25) -> np.ndarray:
    """Edit a rendered person by the committed editor: where the course leads.

    Args:
        emotions: to become, from neutral.
        frames: of the clip, which is shown at its middle.

    Returns:
        (1, 1 + E, 224, 224, 3) uint8: the source, and one picture for each emotion.
    """
    spec = next(spec for spec in smoke_specs() if spec.emotion == "neutral")
    rendered = render_performance(spec, act(spec), RENDERED_SIZE)[0][:frames]
    crops = crop(rendered, align(rendered, name=name_of(spec)), FILM_SIZE)

    editor = load_editor()
    middle = frames // 2
    pictures = [crops[middle]]
    for emotion in emotions:
        edited = edit_clip(editor, crops, emotion, source_emotion="neutral")
        pictures.append(edited[middle])

    return np.stack(pictures)[None]


def corpus_sheet(store: Store, people: int = 4) -> tuple[np.ndarray, list[str], list[str], int]:
    """Show the sentence that most emotions share as some people say it: middle frames.

    Args:
        store: of clips.
        people: most rows.

    Returns:
        (people, emotions, C, C, 3) uint8 pictures, black where a clip is missing; names of the rows
        and of the columns; number of one of the clips.
    """
    clips = store.clips
    emotions_of_sentence = clips.groupby("sentence", sort=False)["emotion"].nunique()

    same_sentence = clips[clips.sentence == emotions_of_sentence.idxmax()]
    speakers = list(same_sentence.speaker.unique()[:people])
    emotions = sorted(same_sentence.emotion.unique())

    shape = (len(speakers), len(emotions), *store.face.shape[1:])
    sheet = np.zeros(shape, np.uint8)

    for clip in same_sentence[same_sentence.speaker.isin(speakers)].itertuples():
        row = speakers.index(clip.speaker)
        column = emotions.index(clip.emotion)
        sheet[row, column] = store.face[clip.start + clip.num_frames // 2]

    return sheet, speakers, emotions, int(same_sentence.index[0])


def phoneme_times(store: Store, clip: int) -> list[tuple[float, float, str]]:
    """List (start, end, phoneme) of a clip, seconds; nothing where phone times are unknown.

    Args:
        store: of clips.
        clip: its number.
    """
    if "phoneme" not in store.truth:
        return []

    phonemes, edges = label_runs(store.truth["phoneme"][store.frames(clip)])
    seconds = (edges / store.clips.frame_rate[clip]).round(3).tolist()

    times = []
    for index, phoneme in enumerate(phonemes):
        times.append((seconds[index], seconds[index + 1], PHONEMES[phoneme]))

    return times


def clip_strip(store: Store, clip: int, columns: int = 8) -> tuple[np.ndarray, list[str]]:
    """Show some frames of a clip, evenly spread.

    Args:
        store: of clips.
        clip: its number.
        columns: number of frames.

    Returns:
        (1, columns, C, C, 3) uint8 frames, and the time of each.
    """
    num_frames = store.clips.num_frames[clip]
    rate = store.clips.frame_rate[clip]
    positions = _spread(num_frames, columns)

    crops = store.face[store.frames(clip)][positions]

    return crops[None], [f"{position / rate:.1f} s" for position in positions]


def middle_frames(store: Store) -> tuple[np.ndarray, list[str]]:
    """Show the middle frame of each of N clips.

    Args:
        store: of clips.

    Returns:
        (1, N, C, C, 3) uint8 frames, and the emotion of each.
    """
    middle = store.clips.start + store.clips.num_frames // 2
    crops = store.face[middle.to_numpy()]
    return crops[None], list(store.clips.emotion)


def edit_strip(run: Path, columns: int = 8) -> tuple[np.ndarray, list[str]]:
    """Show a source clip above its edit by the committed editor and its true edit.

    Args:
        run: folder of the run.
        columns: number of frames of each.

    Returns:
        (3, columns, C, C, 3) uint8 frames at the same times, and the names of the rows. A real
        corpus has the source alone.
    """
    names, films, _ = _first_edit(run)
    positions = _spread(len(films[0]), columns)
    rows = [film[positions] for film in films]

    return np.stack(rows), names


def edit_film(run: Path) -> Path:
    """Write the clips of `edit_strip` side by side, with the source's sound.

    Args:
        run: folder of the run.

    Returns:
        `tour.mp4` in the folder of the corpus.
    """
    path = stage_folder(run, "corpus") / "tour.mp4"
    if path.exists():
        return path

    names, films, sound = _first_edit(run)
    enlarged = [_enlarge(film) for film in films]

    report = Store(stage_folder(run, "corpus") / "report")
    rate = float(report.clips.frame_rate[0])
    note = {"comment": f"synthetic: {'; '.join(names)}"}
    write_video(path, np.concatenate(enlarged, 2), rate, sound, note)

    return path


def _spread(num_frames: int, columns: int) -> np.ndarray:
    """Return (columns,) positions from the first to the last of `num_frames`."""
    return np.linspace(0, num_frames - 1, columns).astype(int)


def _enlarge(film: np.ndarray) -> np.ndarray:
    """Resize (T, C, C, 3) uint8 crops to `FILM_SIZE`."""
    frames = []
    for frame in film:
        image = Image.fromarray(frame).resize((FILM_SIZE, FILM_SIZE), Image.Resampling.LANCZOS)
        frames.append(np.asarray(image))

    return np.stack(frames)


def _first_edit(run: Path) -> tuple[list[str], list[np.ndarray], np.ndarray]:
    """Edit the source of the first true edit.

    Returns:
        Names and crops, (T, C, C, 3) uint8 each, of the source, its edit by the committed editor
        and its true edit; and the sound, (S,).
    """
    report = Store(stage_folder(run, "corpus") / "report")
    if not has_truth(run):
        name = f"{report.clips.emotion[0]}: no true edit of a real clip exists"
        return [name], [_crops(report, 0)], report.sound(0)

    true_edits = Store(stage_folder(run, "corpus") / "edits")
    target: Any = true_edits.clips.iloc[0]

    source_name = source_of(true_edits.clips.name[0])
    is_source = report.clips.name == source_name
    source = int(np.flatnonzero(is_source)[0])

    crops = _crops(report, source)
    edited = edit_clip(load_editor(), crops, target.emotion, target.intensity / LEVELS)
    names = [
        f"source: {report.clips.emotion[source]}",
        f"edit: {target.emotion}",
        f"true edit: {target.emotion}",
    ]

    return names, [crops, edited, _crops(true_edits, 0)], report.sound(source)


def _crops(store: Store, clip: int) -> np.ndarray:
    """Return the crops of a clip, (T, C, C, 3) uint8."""
    return np.asarray(store.face[store.frames(clip)])
