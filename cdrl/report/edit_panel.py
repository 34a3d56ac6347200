"""The panel of notebook 08: a video, an emotion, an intensity over time, and both to see and hear.

It edits as `cdrl edit` does. Without a browser its values come from the notebook's parameters.
"""

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np

from cdrl.core.errors import InputError
from cdrl.core.files import atomic_path
from cdrl.core.vocabulary import EMOTIONS
from cdrl.editing.compare import write_comparison
from cdrl.editing.control import IntensityCurve, Mixture, read_reference, read_text
from cdrl.editing.pipeline import edit_video
from cdrl.editors.base import Editor
from cdrl.editors.loading import DEFAULT_EDITOR, load_editor
from cdrl.media.inspection import single_frames
from cdrl.models.image_editor import MAX_INTENSITY
from cdrl.representation.guidance import Guidance

KNOTS = 9  # sliders of the curve, evenly spread over the clip
WAYS = {"by a label": "label", "in words": "words", "as in a clip": "clip"}
UNKNOWN = "not known"  # emotion of the source
LARGEST_SHOWN = 40_000_000  # bytes of a video that the page holds


class EditPanel(widgets.VBox):
    """Choose and edit; the result stands below.

    Args:
        video: path of the source, until another is uploaded.
        emotion: a label.
        words: a description, which goes before the label.
        reference: path of a clip that shows the emotion, which goes before both.
        curve: K intensities, evenly spread over the clip; one number holds throughout.
        source_emotion: what the source shows; empty where it is not known.
        folder: where edits and uploads are written.
        run: folder of a run whose editor and encoders are taken; None: the committed ones.

    Attributes:
        edited: the last edit, or None.
        comparison: source and edit side by side, or None.

    Raises:
        InputError: no such file, an unknown emotion, or a run without an editor.
    """

    def __init__(
        self,
        video: str | Path,
        emotion: str = "happy",
        words: str = "",
        reference: str = "",
        curve: float | Sequence[float] = 1.0,
        source_emotion: str = "",
        folder: str | Path = "runs/edits",
        run: Path | None = None,
    ):
        self.folder = Path(folder)
        self.run = run
        self.editor: Editor = load_editor(run or DEFAULT_EDITOR)
        self.edited: Path | None = None
        self.comparison: Path | None = None

        learnt = list(self.editor.card.emotions)
        if emotion not in learnt:
            raise InputError(f"emotion={emotion}: this editor learnt {', '.join(learnt)}")
        if source_emotion and source_emotion not in EMOTIONS:
            raise InputError(
                f"source_emotion={source_emotion}: accepted are {', '.join(EMOTIONS)}, or nothing"
            )
        way = "clip" if reference else "words" if words else "label"

        self.upload = widgets.FileUpload(accept="video/*", description="Upload")
        self.path = widgets.Text(str(video), description="or a file")
        self.way = widgets.ToggleButtons(options=WAYS, value=way, description="Emotion")
        self.label = widgets.Dropdown(options=learnt, value=emotion, description="label")
        self.words = widgets.Text(words, description="words", placeholder="lip corners up")
        self.reference = widgets.Text(reference, description="clip", placeholder="path of a video")
        self.source_emotion = widgets.Dropdown(
            options=[UNKNOWN, *EMOTIONS], value=source_emotion or UNKNOWN, description="source"
        )
        self.knots = [_knot(value) for value in _spread(curve)]
        self.button = widgets.Button(description="Edit", button_style="primary")
        self.result = widgets.HTML()
        self.messages = widgets.Output()

        self.upload.observe(self._take_upload, "value")
        self.button.on_click(self._edit_in_view)
        super().__init__(
            [
                widgets.HBox([self.upload, self.path]),
                self.way,
                widgets.HBox([self.label, self.words, self.reference]),
                self.source_emotion,
                widgets.Label("Intensity from the first frame to the last; 0 changes nothing:"),
                widgets.HBox(self.knots),
                self.button,
                self.messages,
                self.result,
            ]
        )

    @property
    def curve(self) -> list[float]:
        """The intensities of the sliders, from the first frame to the last."""
        return [knot.value for knot in self.knots]

    def edit(self) -> Path:
        """Edit the video as the panel says, and show both.

        Returns:
            Path of the edit; `comparison` has source and edit side by side.

        Raises:
            InputError: as `cdrl.edit`.
        """
        source = Path(self.path.value)
        if not source.is_file():
            raise InputError(f"{source}: no such video; upload one, or give the path of a file")
        self.folder.mkdir(parents=True, exist_ok=True)
        edited = self.folder / f"{source.stem}-edited.mp4"
        known = self.source_emotion.value
        edit_video(
            source,
            self._emotion(),
            edited,
            intensity=IntensityCurve(self._seconds(source), self.curve),
            editor=self.editor,
            progress=False,
            source_emotion=None if known == UNKNOWN else known,
        )
        comparison = self.folder / f"{source.stem}-compared.mp4"
        write_comparison(source, edited, comparison)
        self.edited = edited
        self.comparison = comparison
        self.result.value = _page(comparison, edited)
        return edited

    def _emotion(self) -> str | Mixture:
        """The label, or what words or a clip mean."""
        if self.way.value == "label":
            return self.label.value
        guidance = Guidance(self.run)
        learnt = self.editor.card.emotions
        if self.way.value == "words":
            return read_text(guidance, self.words.value, learnt)
        clip = Path(self.reference.value)
        if not clip.is_file():
            raise InputError(f"{clip}: no such clip; give the path of a video with the emotion")
        return read_reference(guidance, clip, learnt).mixture

    def _seconds(self, source: Path) -> list[float]:
        """The times of the sliders in the clip."""
        times: list[float] = []
        for _ in single_frames(source, times):
            pass
        duration = max(times[-1] - times[0], 0.01)
        return np.linspace(0, duration, len(self.knots)).tolist()

    def _take_upload(self, change: dict[str, Any]) -> None:
        """Write an uploaded file into the folder, and take it as the source."""
        for file in change["new"]:
            name = Path(file["name"]).name
            path = self.folder / "uploads" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as temporary:
                temporary.write_bytes(bytes(file["content"]))
            self.path.value = str(path)

    def _edit_in_view(self, button: widgets.Button) -> None:
        """Edit after a click; what cannot be used is said in the panel."""
        self.button.disabled = True
        self.messages.clear_output()
        with self.messages:
            try:
                self.edit()
            except InputError as error:
                print(error)
        self.button.disabled = False


def _spread(curve: float | Sequence[float]) -> list[float]:
    """K intensities of the sliders, linear between those that are given."""
    values = np.atleast_1d(np.asarray(curve, float))
    positions = np.linspace(0, 1, KNOTS)
    spread = np.interp(positions, np.linspace(0, 1, len(values)), values)
    is_inside = (spread >= 0) & (spread <= MAX_INTENSITY)
    if not is_inside.all():
        raise InputError(f"curve={curve}: intensities from 0 to {MAX_INTENSITY:g} are accepted")
    return spread.tolist()


def _knot(value: float) -> widgets.FloatSlider:
    return widgets.FloatSlider(
        value,
        min=0,
        max=MAX_INTENSITY,
        step=0.05,
        orientation="vertical",
        readout_format=".2f",
        layout=widgets.Layout(height="160px", width="56px"),
    )


def _page(comparison: Path, edited: Path) -> str:
    """Source and edit in one player, and a link to keep the edit."""
    name = html.escape(edited.name)
    path = html.escape(str(edited))
    if comparison.stat().st_size > LARGEST_SHOWN:
        return f"<p>The edit is in {path}; it is too long to be shown here.</p>"
    return (
        "<figure style='margin:0'>"
        f"<video controls loop style='max-width:100%' src='{_data_uri(comparison)}'></video>"
        "<figcaption>Left the source, right the edit (synthetic). "
        f"<a download='{name}' href='{_data_uri(edited)}'>Download the edit</a> ({path})"
        "</figcaption></figure>"
    )


def _data_uri(path: Path) -> str:
    content = base64.b64encode(path.read_bytes()).decode()
    return f"data:video/mp4;base64,{content}"
