"""The dial as HTML without a kernel: one page, and a smaller piece for an executed notebook."""

import base64
import hashlib
import html
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from cdrl.core.errors import InputError
from cdrl.core.files import atomic_path
from cdrl.core.pools import beside, in_order, kept_workers
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
from cdrl.report.dial.session import Session, SessionOpening
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

    mixtures = list(dict.fromkeys(_mixture_key(choice) for choice in choices))
    edits = [_edit_with(session, session.opening, clip, mixtures)[1] for clip in clips]
    html_text = _fragment(session, names, clips, choices, STATIC_QUALITY, edits)
    return StaticDial(html_text)


def write_page(
    run: Session | Path | str,
    out: Path | str,
    clip: Path | str | None = None,
    texts: Sequence[str] = (),
    references: Sequence[Path | str] = (),
    generator: Path | str | None = None,
    workers: int = 1,
) -> Path:
    """Write the dial as one HTML file with clips, sound, fields and readings inside.

    Args:
        run: folder of a run, or a `Session`.
        out: the file.
        clip: a video file instead of the run's clips.
        texts: descriptions that can be chosen; none: `TEXTS`.
        references: video files whose emotion can be chosen; none: two clips of the run.
        generator: as `Session` takes it.
        workers: processes that edit; 1 edits in this one.

    Returns:
        `out`; five clips with seven emotions, two texts and two references are some 4 MB, four
        times that by facial actions.

    Raises:
        InputError: as `Session` and as `text_choice`.
    """
    session = run if isinstance(run, Session) else Session(run, clip, references, generator)
    num_references = len(references) or PAGE_REFERENCES
    names = session.clip_names
    positions = list(range(min(PAGE_CLIPS, len(names))))
    for position, name in enumerate(names):
        if name.endswith("_NEU_XX") and position not in positions:
            positions.append(position)  # a real neutral clip
    page_names = [names[position] for position in positions]

    # The workers open the session while this process reads texts and references.
    openings = [(session.opening,)] * workers if workers > 1 else []
    with kept_workers(workers):
        with beside(_open, openings, workers):
            choices = _page_choices(session, texts or TEXTS, num_references)
        clips, edits = _edit_beside(session, positions, choices, workers)
    body = _fragment(session, page_names, clips, choices, PAGE_QUALITY, edits)
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


@dataclass(frozen=True)
class EditsOfClip:
    """What the edits of one clip to one mixture need, and what the guidance reads of them.

    Attributes:
        fields: of the edits.
        readings: of the source and of the edit at each of `READING_INTENSITIES`, rounded.
    """

    fields: LowRankFields
    readings: list[dict]


Mixture = tuple[tuple[str, float], ...]  # emotions and weights, sorted


def _edit_beside(
    session: Session, positions: Sequence[int], choices: Sequence[EmotionChoice], workers: int
) -> tuple[list[SourceClip], list[dict[Mixture, EditsOfClip]]]:
    """Make the clips of a page and their edits, in several processes.

    A job is one clip, which is made and looked at once, and its mixtures; those of clips that the
    workers cannot share evenly are divided among them.

    Returns:
        The clips, and the edits of each by mixture.
    """
    mixtures = list(dict.fromkeys(_mixture_key(choice) for choice in choices))
    num_whole = len(positions) // workers * workers  # clips of which each worker takes as many
    jobs: list[tuple] = []
    rows = []
    for row, position in enumerate(positions):
        clip = session.given_clip(position) or position
        size = len(mixtures) if row < num_whole else -(-len(mixtures) // workers)
        for start in range(0, len(mixtures), size):
            jobs.append((session.opening, clip, mixtures[start : start + size]))
            rows.append(row)

    clips: dict[int, SourceClip] = {}
    edits: list[dict[Mixture, EditsOfClip]] = [{} for _ in positions]
    edit = _edit_job if workers > 1 else partial(_edit_with, session)
    total = len(positions) * len(mixtures)
    bar = tqdm(total=total, desc="dial", leave=False, disable=not sys.stderr.isatty())
    with bar:
        for row, (clip, made) in zip(rows, in_order(edit, jobs, workers), strict=True):
            clips[row] = clip
            edits[row] |= made
            bar.update(len(made))
    return [clips[row] for row in range(len(positions))], edits


def _edit_with(
    session: Session, _: SessionOpening, clip: SourceClip | int, mixtures: Sequence[Mixture]
) -> tuple[SourceClip, dict[Mixture, EditsOfClip]]:
    """A clip, or that at a position, and its edits to some mixtures."""
    if isinstance(clip, int):
        clip = session.clip(clip)
    unchanged = np.zeros(len(clip.crops), np.float32)
    source_reading = session.readings(clip, dict(mixtures[0]), unchanged)

    edits = {}
    for mixture in mixtures:
        readings = [_rounded(source_reading)]
        for intensity in READING_INTENSITIES[1:]:
            curve = np.full(len(clip.crops), intensity, np.float32)
            readings.append(_rounded(session.readings(clip, dict(mixture), curve)))
        edits[mixture] = EditsOfClip(session.fields(clip, dict(mixture)), readings)
    return clip, edits


@lru_cache(1)
def _opened(opening: SessionOpening) -> Session:
    """The session of a worker, opened once."""
    return Session(opening.run, generator=opening.generator)


def _open(opening: SessionOpening) -> None:
    """Open the session of a worker before it has a job."""
    _opened(opening)


def _edit_job(
    opening: SessionOpening, clip: SourceClip | int, mixtures: Sequence[Mixture]
) -> tuple[SourceClip, dict[Mixture, EditsOfClip]]:
    """`_edit_with` in another process."""
    return _edit_with(_opened(opening), opening, clip, mixtures)


def _fragment(
    session: Session,
    names: Sequence[str],
    clips: Sequence[SourceClip],
    choices: Sequence[EmotionChoice],
    quality: int,
    edits: Sequence[dict[Mixture, EditsOfClip]],
) -> str:
    """A piece of HTML that carries its own data, style and script."""
    block = _Block()
    clip_data = []
    for clip, edits_of_clip in zip(clips, edits, strict=True):
        clip_data.append(_clip_data(clip, choices, block, quality, edits_of_clip))
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
    poster = _poster(clips[0], choices, edits[0])
    functions = script().replace("export default { render };", "")
    return (
        f'<style>{style_sheet()}</style><div class="cdrl-dial" id="{name}">{poster}</div>\n'
        f"<script>(() => {{\n{functions}\n"
        f"const header = {header_text};\n"
        f'dial(document.getElementById("{name}"), header, pageSource(header, "{block_text}"));\n'
        "})();</script>"
    )


def _clip_data(
    clip: SourceClip,
    choices: Sequence[EmotionChoice],
    block: _Block,
    quality: int,
    edits: dict[Mixture, EditsOfClip],
) -> dict:
    """The data of one clip; its pictures, sound and fields are added to the block."""
    data_of_mixture: dict[Mixture, dict] = {}
    fields_data = {}
    for choice in choices:
        mixture = _mixture_key(choice)
        if mixture not in data_of_mixture:
            fields = edits[mixture].fields
            data = fields_shape(fields)
            data["block"] = block.add(fields_bytes(fields))
            data["readings"] = edits[mixture].readings
            data_of_mixture[mixture] = data
        fields_data[choice.key] = data_of_mixture[mixture]

    clip_data = clip_facts(clip)
    clip_data["sprite_sheet"] = block.add(clip.sprite_sheet(quality))
    clip_data["sound"] = block.add(clip.mp3())
    clip_data["fields"] = fields_data
    return clip_data


def _mixture_key(choice: EmotionChoice) -> Mixture:
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


def _poster(
    clip: SourceClip, choices: Sequence[EmotionChoice], edits: dict[Mixture, EditsOfClip]
) -> str:
    """HTML with a picture of the edits, for paper and for where no script may run."""
    strips = []
    names = []
    mixtures = set()
    for choice in choices:
        mixture = _mixture_key(choice)
        if mixture not in mixtures:
            mixtures.add(mixture)
            strips.append(_strip(clip, edits[mixture].fields))
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
