"""The public interface in four functions: `load`, `embed`, `edit` and `scores`.

All of it is there under the package: `import cdrl`, then `cdrl.embed("talk.mp4")`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import torch

from cdrl.core.errors import InputError
from cdrl.core.results import all_scores, read_results, select_scores
from cdrl.core.settings import IngestConfig
from cdrl.core.stage import made_with
from cdrl.corpora.batches import image_tensor
from cdrl.corpora.store import Store
from cdrl.editing.control import IntensityCurve, Mixture
from cdrl.editing.pipeline import edit_video
from cdrl.editing.sight import Face
from cdrl.editors.base import Editor
from cdrl.editors.loading import DEFAULT_EDITOR, load_editor
from cdrl.media.faces import align, crop
from cdrl.media.video import read_video_stream
from cdrl.priors.features import Features
from cdrl.priors.vision import VisionPrior
from cdrl.representation.ccrl import embed_content
from cdrl.representation.cerl import embed_emotion
from cdrl.representation.guidance import Guidance

FRAME_RATE = 25.0  # Hz, of the frames that the encoders were trained on
CHUNK = 64  # frames that are in memory at once
SCORE_COLUMNS = ("value", "chance", "low", "high", "n")


class Run:
    """The encoders of a run, and what can be done with them.

    Args:
        folder: of a run; None for the committed encoders.

    Attributes:
        folder: as given.
        guidance: the frozen content and emotion encoders, also the supervision of a generator.

    Raises:
        InputError: where no trained encoders are.
    """

    def __init__(self, folder: str | Path | None = None) -> None:
        self.folder = folder
        self.guidance = Guidance(folder)

    def __repr__(self) -> str:
        return f"cdrl.load({'' if self.folder is None else repr(str(self.folder))})"

    def embed(self, video: str | Path) -> pd.DataFrame:
        """Content and emotion of every frame of a video.

        Args:
            video: any file of one face.

        Returns:
            As `cdrl.embed`.

        Raises:
            InputError: a file that cannot be read, or that does not show one face.
        """
        return _embed_video(self.guidance, Path(video), self._crop_size())

    def scores(self, pattern: str = "") -> pd.DataFrame:
        """The scores of the run.

        Args:
            pattern: as `cdrl.scores`.

        Returns:
            As `cdrl.scores`.

        Raises:
            InputError: for the committed encoders, which are no run, and as `cdrl.scores`.
        """
        if self.folder is None:
            raise InputError(
                "scores: the committed encoders are no run; name one, as in "
                "cdrl.load('runs/demo').scores()"
            )
        return scores(self.folder, pattern)

    def edit(
        self,
        source: str | Path,
        emotion: str | Mixture,
        out: str | Path,
        intensity: float | str | np.ndarray | IntensityCurve = 1.0,
        source_emotion: str | Mixture | None = None,
        editor: str | Path | Editor | None = None,
        face: Face = None,
        mark: bool = False,
    ) -> Path:
        """Edit a video by the editor of the run; without a run by the facial-action editor.

        Args:
            source: as `cdrl.edit`.
            emotion: as `cdrl.edit`.
            out: as `cdrl.edit`.
            intensity: as `cdrl.edit`; an array has one value a frame, (T,).
            source_emotion: as `cdrl.edit`.
            editor: another editor.
            face: as `cdrl.edit`.
            mark: as `cdrl.edit`.

        Returns:
            `out`.

        Raises:
            InputError: as `cdrl.edit`.
        """
        if editor is None:
            editor = DEFAULT_EDITOR if self.folder is None else self.folder
        return edit(source, emotion, out, intensity, source_emotion, editor, face, mark)

    def _crop_size(self) -> int:
        """Pixels a side of the face crops that the encoders were trained on."""
        size = IngestConfig().crop_size
        if self.folder is None:
            return size
        return made_with(self.folder, "corpus", "crop_size", size)


def load(run: str | Path | None = None) -> Run:
    """Open the encoders of a run.

    Args:
        run: folder of a run, as in runs/demo; None for the committed encoders.

    Returns:
        With `guidance`, `embed`, `scores` and `edit`.

    Raises:
        InputError: where no trained encoders are.
    """
    return Run(run)


def embed(video: str | Path, run: str | Path | None = None) -> pd.DataFrame:
    """Content and emotion of every frame of a video.

    The face is found and cropped at 25 Hz, as in training. A frame of a video with another rate has
    the embedding of the nearest moment.

    Args:
        video: any file of one face.
        run: folder of a run; None for the committed encoders.

    Returns:
        One row for every frame of the file, in order: `time` in seconds from the first frame;
        `content_0`, ... of unit norm together; `emotion_0`, ... of unit norm together.

    Raises:
        InputError: a file that cannot be read, or that does not show one face; no trained encoders.
    """
    return load(run).embed(video)


def edit(
    source: str | Path,
    emotion: str | Mixture,
    out: str | Path,
    intensity: float | str | np.ndarray | IntensityCurve = 1.0,
    source_emotion: str | Mixture | None = None,
    editor: str | Path | Editor = DEFAULT_EDITOR,
    face: Face = None,
    mark: bool = False,
    fit: str | Path | None = None,
) -> Path:
    """Give the face of a video another emotion; sound, length and frame rate stay.

    Frames in which the face cannot be edited stay too; lines say which, and what else was seen.

    Args:
        source: any video that shows a face.
        emotion: a name as "happy", or a mixture {name: weight}.
        out: an .mp4.
        intensity: 0 to 1.5: one number; (T,), one per frame; or a curve over time, which may be
            written "0:0,1.5:1,3:0" (seconds:intensity).
        source_emotion: what the source shows, where it is known.
        editor: name of committed weights, path of weights, folder of a run, or an editor.
        face: which of several faces: its number from 1, left to right, or a box (left, top, width,
            height) in pixels; None: the widest of each shot.
        mark: whether to write into a corner of every frame that it is synthetic.
        fit: folder of this person's clips, any names, that the editor is first fitted to, see
            `cdrl.editing.fit`; what was fitted lies in `fits` beside `out`.

    Returns:
        `out`. Its metadata says that it is synthetic, and what was asked.

    Raises:
        InputError: unknown emotion, intensity outside 0 to 1.5, a file that cannot be read or in
            which no face can be edited, an `out` that cannot be written or that this kit did not
            make; before anything is written.
    """
    if fit is not None:
        from cdrl.editing.fit import fit_for_edit  # imports all that trains

        if isinstance(editor, (str, Path)):
            editor = load_editor(editor)
        editor = fit_for_edit(editor, Path(fit), Path(source), emotion, Path(out))
    return edit_video(
        Path(source),
        emotion,
        Path(out),
        intensity=intensity,
        editor=editor,
        source_emotion=source_emotion,
        face=face,
        mark=mark,
    )


def scores(run: str | Path, pattern: str = "") -> pd.DataFrame:
    """The scores of a run as a table.

    Args:
        run: a run's folder or a results.json, as in runs/demo or results/study.
        pattern: "content.*" (wildcards) or "content" (that name and all below it); empty for all.

    Returns:
        One row a score, indexed by `score`. Columns: value, chance (the score without any
        information), low and high (95 % interval) and n (observations); nan where there is none.

    Raises:
        InputError: for a folder without results, and where no score matches.
    """
    rows: dict[str, dict[str, float]] = {}
    for name, value in select_scores(all_scores(read_results(run)), pattern).items():
        score, _, column = name.rpartition(".")
        if column not in SCORE_COLUMNS[1:]:
            score = name
            column = "value"
        rows.setdefault(score, {})[column] = value

    if not rows:
        raise InputError(
            f"no score of {run} matches {pattern!r}: cdrl.scores({str(run)!r}) has all"
        )
    table = pd.DataFrame.from_dict(rows, orient="index", columns=list(SCORE_COLUMNS), dtype=float)
    return table.rename_axis("score")


def _embed_video(guidance: Guidance, video: Path, crop_size: int) -> pd.DataFrame:
    """`embed`, by frozen encoders that were trained on crops of a size in pixels."""
    times: list[float] = []
    frames = _frames(video, times)
    alignment = align(frames, name=str(video), crop=guidance.crop)

    parts = []
    start = 0
    for chunk in read_video_stream(video, FRAME_RATE, CHUNK):
        stop = start + len(chunk)
        crops = crop(chunk, alignment.part(start, stop), crop_size)
        parts.append(_frame_features(guidance, crops, alignment.mouth_box))
        start = stop
    face, mouth, language = map(np.concatenate, zip(*parts, strict=True))
    features = _VideoFeatures(face, mouth, language)

    content = embed_content(guidance.content_encoder, features)
    emotion = embed_emotion(guidance.emotion_encoder, features)

    seconds = np.array(times) - times[0]
    # The earlier of two moments that are equally near.
    moments = np.ceil(seconds * FRAME_RATE - 0.5 - 1e-6).astype(int)
    moments = np.minimum(moments, len(content) - 1)
    columns = [
        pd.Series(seconds, name="time"),
        _columns("content", content[moments]),
        _columns("emotion", emotion[moments]),
    ]
    return pd.concat(columns, axis=1)


def _frames(video: Path, times: list[float]) -> Iterator[np.ndarray]:
    """Yield the frames at 25 Hz, (H, W, 3) each; `times` receives those of the file, seconds."""
    for chunk in read_video_stream(video, FRAME_RATE, CHUNK, times=times):
        yield from chunk


@torch.no_grad()
def _frame_features(
    guidance: Guidance, crops: np.ndarray, mouth_box: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Face, mouth and language features, (B, D) each, of (B, C, C, 3) crops with one mouth box."""
    images = image_tensor(crops)
    boxes = torch.from_numpy(mouth_box).expand(len(images), -1)
    face, mouth = guidance.vision(images, boxes)

    # The image tower of the embedded CLIP is the face backbone: its features are there already.
    if guidance.language.embedded and isinstance(guidance.vision, VisionPrior):
        language = face
    else:
        language = guidance.language.image_features(images)
    return face.numpy(), mouth.numpy(), language.numpy()


def _columns(name: str, embeddings: np.ndarray) -> pd.DataFrame:
    """(T, D) embeddings as columns NAME_0 to NAME_(D - 1)."""
    names = [f"{name}_{index}" for index in range(embeddings.shape[1])]
    return pd.DataFrame(embeddings, columns=names)


class _OneClip:
    """The table of one clip, as a store has it."""

    def __init__(self, num_frames: int) -> None:
        self.num_frames = num_frames
        self.clips = pd.DataFrame({"start": [0], "num_frames": [num_frames]})

    def __len__(self) -> int:
        return self.num_frames


class _VideoFeatures(Features):
    """The features of one video, in memory; windows are cut from them as from those of a store."""

    def __init__(self, face: np.ndarray, mouth: np.ndarray, language: np.ndarray) -> None:
        table: Any = _OneClip(len(face))
        self.store = cast(Store, table)
        self.face = face
        self.mouth = mouth
        self.language = language
