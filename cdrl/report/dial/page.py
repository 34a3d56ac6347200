"""The dial as HTML without a kernel: one page, and a smaller piece for an executed notebook."""

import base64
import hashlib
import html
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from cdrl.core.errors import InputError
from cdrl.core.files import atomic_path
from cdrl.report.dial.choices import (
    TEXTS,
    EmotionChoice,
    label_choice,
    reference_choice,
    text_choice,
)
from cdrl.report.dial.low_rank import LowRankFields, edit_with_fields
from cdrl.report.dial.payload import (
    clip_facts,
    controls,
    fields_bytes,
    fields_shape,
    offered_emotions,
    script,
    style_sheet,
)
from cdrl.report.dial.session import Session
from cdrl.report.dial.source_clip import SourceClip, shortened
from cdrl.report.html_page import script_json
from cdrl.report.style import jpeg_uri

# Even intensities at which the readings of a page are taken.
READING_INTENSITIES = (0.0, 1 / 3, 2 / 3, 1.0, 1.5)
PAGE_CLIPS = 4
PAGE_REFERENCES = 2
PAGE_QUALITY = 82  # of the WebP of a clip's frames
STATIC_CLIPS = 2
STATIC_SECONDS = 1.8
STATIC_EMOTIONS = 3
STATIC_QUALITY = 72
POSTER_CELL = 112  # pixels


@dataclass(frozen=True)
class StaticDial:
    """The dial as HTML that a notebook shows and keeps: it works in any browser without a kernel.

    Attributes:
        data: the HTML, some 0.6 MB, with a still picture for where no script may run.
    """

    data: str

    def _repr_html_(self) -> str:
        return self.data

    def __repr__(self) -> str:
        return (
            "The dial shows itself where HTML can be shown; cdrl dial RUN writes the same as one "
            "page."
        )


def static_dial(session: Session, texts: Sequence[str] = TEXTS) -> StaticDial:
    """The dial for an executed notebook and the report.

    It has `STATIC_CLIPS` clips, `STATIC_EMOTIONS` emotions, a text and a reference.

    Args:
        session: clips and generator.
        texts: descriptions; the first is offered.
    """
    choices = _page_choices(session, texts[:1], 1, STATIC_EMOTIONS)
    num_clips = min(STATIC_CLIPS, len(session.clip_names))
    names = session.clip_names[:num_clips]
    clips = []
    for position in range(num_clips):
        whole = session.clip(position)
        clips.append(shortened(whole, STATIC_SECONDS))

    html_text = _fragment(session, names, clips, choices, STATIC_QUALITY)
    return StaticDial(html_text)


def write_page(
    run: Session | Path | str,
    out: Path | str,
    clip: Path | str | None = None,
    texts: Sequence[str] = (),
    references: Sequence[Path | str] = (),
    generator: Path | str | None = None,
) -> Path:
    """Write the dial as one HTML file with clips, sound, fields and readings inside.

    Args:
        run: folder of a run, or a `Session`.
        out: the file.
        clip: a video file instead of the run's clips.
        texts: descriptions that can be chosen; none: `TEXTS`.
        references: video files whose emotion can be chosen; none: two clips of the run.
        generator: as `Session` takes it.

    Returns:
        `out`; five clips with seven emotions, two texts and two references are some 4 MB, four
        times that by facial actions.

    Raises:
        InputError: as `Session` and as `text_choice`.
    """
    session = run if isinstance(run, Session) else Session(run, clip, references, generator)
    num_references = len(references) or PAGE_REFERENCES
    choices = _page_choices(session, texts or TEXTS, num_references)

    names = session.clip_names
    positions = list(range(min(PAGE_CLIPS, len(names))))
    for position, name in enumerate(names):
        if name.endswith("_NEU_XX") and position not in positions:
            positions.append(position)  # a real neutral clip
    page_names = [names[position] for position in positions]
    total = len(positions) * (1 + len(choices))  # a clip takes about as long as an emotion of it
    progress = tqdm(total=total, desc="dial", leave=False, disable=not sys.stderr.isatty())
    with progress:
        clips = []
        for position in positions:
            clips.append(session.clip(position))
            progress.update()
        body = _fragment(session, page_names, clips, choices, PAGE_QUALITY, progress.update)
    title = html.escape(f"cdrl dial: {session.run.name}")
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1">\n<title>{title}</title>'
        f"<style>body{{margin:8px}}</style></head><body>\n{body}\n</body></html>\n"
    )
    with atomic_path(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return Path(out)


def _page_choices(
    session: Session, texts: Sequence[str], num_references: int, num_labels: int | None = None
) -> list[EmotionChoice]:
    """The emotions of a page: labels, texts and references, read now.

    What the user named must be readable; a default that this generator never learnt is left out.
    """
    labels = offered_emotions(session.emotions)[:num_labels]
    choices = [label_choice(name) for name in labels]

    for text in texts:
        try:
            choices.append(text_choice(session, text))
        except InputError:
            if text not in TEXTS:
                raise
    for position in session.page_references[:num_references]:
        try:
            reference = session.reference(position)
            choices.append(reference_choice(session, reference))
        except InputError:
            if session.has_named_references:
                raise

    return choices


@dataclass
class _Block:
    """Bytes of a page, one piece after another."""

    pieces: list[bytes] = field(default_factory=list)
    length: int = 0

    def add(self, piece: bytes) -> list[int]:
        """Append a piece; returns its offset and length."""
        offset = self.length
        self.pieces.append(piece)
        self.length += len(piece)
        return [offset, len(piece)]


def _fragment(
    session: Session,
    names: Sequence[str],
    clips: Sequence[SourceClip],
    choices: Sequence[EmotionChoice],
    quality: int,
    on_choice: Callable[[], object] = lambda: None,
) -> str:
    """A piece of HTML that carries its own data, style and script.

    `on_choice` is called when an emotion of a clip is ready.
    """
    block = _Block()
    clip_data = [_clip_data(session, clip, choices, block, quality, on_choice) for clip in clips]
    labels = [choice.name for choice in choices if choice.kind == "label"]
    header = controls(names, labels, session.emotions)
    header["live"] = False
    header["clip_data"] = clip_data
    header["reading_intensities"] = READING_INTENSITIES
    header["choices"] = [choice.to_dict() for choice in choices]

    header_text = script_json(header)
    block_text = base64.b64encode(b"".join(block.pieces)).decode()
    digest = hashlib.sha256((header_text + block_text).encode()).hexdigest()
    name = f"dial-{digest[:10]}"
    poster = _poster(session, clips[0], choices)
    functions = script().replace("export default { render };", "")
    return (
        f'<style>{style_sheet()}</style><div class="cdrl-dial" id="{name}">{poster}</div>\n'
        f"<script>(() => {{\n{functions}\n"
        f"const header = {header_text};\n"
        f'dial(document.getElementById("{name}"), header, pageSource(header, "{block_text}"));\n'
        "})();</script>"
    )


def _clip_data(
    session: Session,
    clip: SourceClip,
    choices: Sequence[EmotionChoice],
    block: _Block,
    quality: int,
    on_choice: Callable[[], object],
) -> dict:
    """The data of one clip; its pictures, sound and fields are added to the block."""
    unchanged = np.zeros(len(clip.crops), np.float32)
    source_readings = session.readings(clip, choices[0].mixture, unchanged)
    data_of_mixture: dict[tuple, dict] = {}
    fields_data = {}
    for choice in choices:
        mixture = _mixture_key(choice)
        if mixture not in data_of_mixture:
            fields = session.fields(clip, choice.mixture)
            data = fields_shape(fields)
            data["block"] = block.add(fields_bytes(fields))
            data["readings"] = [_rounded(source_readings)]
            for intensity in READING_INTENSITIES[1:]:
                curve = np.full(len(clip.crops), intensity, np.float32)
                readings = session.readings(clip, choice.mixture, curve)
                data["readings"].append(_rounded(readings))
            data_of_mixture[mixture] = data
        fields_data[choice.key] = data_of_mixture[mixture]
        on_choice()

    clip_data = clip_facts(clip)
    clip_data["sprite_sheet"] = block.add(clip.sprite_sheet(quality))
    clip_data["sound"] = block.add(clip.mp3())
    clip_data["fields"] = fields_data
    return clip_data


def _mixture_key(choice: EmotionChoice) -> tuple:
    """Equal for choices with the same mixture, as a text and a label may have."""
    return tuple(sorted(choice.mixture.items()))


def _rounded(readings: dict) -> dict:
    """Readings with four digits after the point."""
    emotion = [round(probability, 4) for probability in readings["emotion"]]
    content = readings["content"]
    if content is not None:
        content = round(content, 4)
    change = round(readings["change"], 4)
    return {"emotion": emotion, "content": content, "change": change}


def _poster(session: Session, clip: SourceClip, choices: Sequence[EmotionChoice]) -> str:
    """HTML with a picture of the edits, for paper and for where no script may run."""
    strips = []
    names = []
    mixtures = set()
    for choice in choices:
        mixture = _mixture_key(choice)
        if mixture not in mixtures:
            mixtures.add(mixture)
            strips.append(_strip(clip, session.fields(clip, choice.mixture)))
            name = html.escape(choice.name)
            names.append(name if choice.kind == "label" else f"“{name}”")

    picture = jpeg_uri(np.concatenate(strips), 80)
    intensities = ", ".join(f"{intensity:.2g}" for intensity in READING_INTENSITIES)
    return (
        '<div class="cdrl-poster"><img alt="One frame at five intensities of each emotion" '
        f'src="{picture}"><p>Rows: {", ".join(names)}. Columns: intensity {intensities}; the '
        "first is the source.</p></div>"
    )


def _strip(clip: SourceClip, fields: LowRankFields) -> np.ndarray:
    """(cell, 5 cell, 3): the middle frame of a clip at `READING_INTENSITIES`."""
    num_frames = len(clip.crops)
    frames = []
    for intensity in READING_INTENSITIES:
        curve = np.full(num_frames, intensity, np.float32)
        middle = slice(num_frames // 2, num_frames // 2 + 1)
        frames.append(edit_with_fields(fields, clip.crops, curve, middle)[0])

    picture = Image.fromarray(np.concatenate(frames, 1))
    size = (POSTER_CELL * len(frames), POSTER_CELL)
    return np.asarray(picture.resize(size, Image.Resampling.LANCZOS))
