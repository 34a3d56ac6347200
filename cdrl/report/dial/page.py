"""The dial on the screen: widget, page, and the same inside an executed notebook, where no kernel runs."""

import base64
import hashlib
import html
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.report import figures
from cdrl.report.dial.low_rank import LowRankFields, edit_with_fields
from cdrl.report.dial.choices import TEXTS, Choice, as_in, by_label, in_words
from cdrl.report.dial.session import COLUMNS, Session, SourceClip, shortened
from cdrl.report.ready import somebody_watches

HERE = Path(__file__).parent
LEVELS = (1 / 3, 2 / 3, 1.0)
READ_AT = (0.0, 1 / 3, 2 / 3, 1.0, 1.5)  # even intensities at which a page's readings were taken
SHOWN_FIRST = ("happy", "angry", "sad", "surprised", "fear", "disgusted", "neutral")
STATIC_CLIPS, STATIC_SECONDS, STATIC_EMOTIONS, STATIC_QUALITY = 2, 1.8, 3, 72
PAGE_CLIPS, PAGE_REFERENCES = 4, 2


def dial(
    run,
    clip: Path | str | None = None,
    texts=TEXTS,
    references=(),
    generator: Path | str | None = None,
):
    """The dial of a run, as the last line of a cell.

    Args:
        run: folder of a run that notebook 05 is done with, or a `Session`. clip: a video file to turn instead of its clips.
        texts: descriptions that are offered; the widget takes any others too. references: video files to take an emotion from,
            beside the run's clips. generator: weights or a run in place of the run's own, as in "action_renderer".

    Returns:
        A widget; `static_twin` instead, where no browser can be in front of the kernel or anywidget is not installed
        (one line says so).
    """
    desk = run if isinstance(run, Session) else Session(run, clip, references, generator)
    if not somebody_watches():
        return static_twin(desk, texts)
    try:
        from cdrl.report.dial.widget import Dial
    except ImportError as error:
        print(
            f"dial: {error}; pip install anywidget. Fewer clips without a kernel instead, cdrl dial RUN writes a page."
        )
        return static_twin(desk, texts)
    return Dial(desk, texts)


@dataclass(frozen=True)
class Twin:
    """The dial as HTML that a notebook shows and keeps: it turns and plays in any browser without a kernel.

    Attributes:
        data: the HTML, some 0.6 MB, with a still picture for where no script may run.
    """

    data: str

    def _repr_html_(self) -> str:
        return self.data

    def __repr__(self):
        return "The dial shows itself where HTML can be shown; cdrl dial RUN writes the same as one page."


def static_twin(desk: Session, texts=TEXTS) -> Twin:
    """The dial for an executed notebook and the report, no kernel: `STATIC_CLIPS` clips, `STATIC_EMOTIONS` emotions, a text, a reference."""
    choices = _choices(desk, STATIC_EMOTIONS, texts[:1], 1)
    return Twin(
        _fragment(
            desk, range(min(STATIC_CLIPS, len(desk.names))), choices, STATIC_SECONDS, STATIC_QUALITY
        )
    )


def _choices(desk: Session, labels: int | None, texts, references: int) -> list[Choice]:
    """What a page can be turned to, read while it is written; what somebody asked for must be readable, the rest may be missing."""
    found = [by_label(name) for name in SHOWN_FIRST if name in desk.emotions][:labels]
    makers = [(text not in TEXTS, lambda text=text: in_words(desk, text)) for text in texts]
    makers += [
        (desk.given, lambda k=k: as_in(desk, desk.reference(k))) for k in desk.telling[:references]
    ]
    for asked, make in makers:
        try:
            found.append(make())
        except InputError:  # this generator learnt nothing like it
            if asked:
                raise
    return found


def write_page(
    run,
    out,
    clip: Path | str | None = None,
    texts=(),
    references=(),
    generator: Path | str | None = None,
) -> Path:
    """The dial as one HTML file: clips, sound, fields and readings inside, for any browser, without a network.

    Args:
        run: folder of a run, or a `Session`. out: the file. clip: a video file instead of the run's clips. texts: descriptions that
            can be chosen; none: `TEXTS`. references: video files whose emotion can; none: two clips of the run.
            generator: as for `dial`.

    Returns:
        `out`; five clips with seven emotions, two texts and two references are some 4 MB, four times that by facial actions.

    Raises:
        InputError: as `Session` and as `asked.in_words`.
    """
    desk, out = (
        run if isinstance(run, Session) else Session(run, clip, references, generator),
        Path(out),
    )
    choices = _choices(desk, None, texts or TEXTS, len(references) or PAGE_REFERENCES)
    chosen = list(range(min(PAGE_CLIPS, len(desk.names))))
    chosen += [
        k for k, name in enumerate(desk.names) if name.endswith("_NEU_XX") and k not in chosen
    ]
    body = _fragment(desk, chosen, choices, None, 82)
    page = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width, initial-scale=1">\n<title>{html.escape(f"cdrl dial: {desk.run.name}")}</title>'
        f"<style>body{{margin:8px}}</style></head><body>\n{body}\n</body></html>\n"
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    temporary.write_text(page, encoding="utf-8")
    temporary.replace(out)
    return out


def _fragment(
    desk: Session, chosen, choices: list[Choice], seconds: float | None, quality: int
) -> str:
    """A piece of HTML that carries its own data, style and script."""
    pieces, takes, poster = [], [], []

    def put(piece: bytes) -> list[int]:
        pieces.append(piece)
        return [sum(map(len, pieces[:-1])), len(piece)]

    for number, k in enumerate(
        tqdm(chosen, desc="dial", disable=not sys.stderr.isatty(), leave=False)
    ):
        take = desk.take(k) if seconds is None else shortened(desk.take(k), seconds)
        banks, told, still = (
            {},
            {},
            desk.read(take, choices[0].mixture, np.zeros(len(take.crops), np.float32)),
        )
        for choice in choices:
            same = tuple(
                sorted(choice.mixture.items())
            )  # words and labels may mean the same: once is enough
            if same not in told:
                bank = desk.bank(take, choice.mixture)
                curves = [np.full(len(take.crops), value, np.float32) for value in READ_AT[1:]]
                readings = [still] + [desk.read(take, choice.mixture, curve) for curve in curves]
                told[same] = bank_shape(bank) | {
                    "where": put(bank_bytes(bank)),
                    "readings": _rounded(readings),
                }
                poster += [(choice.name, _strip(take, bank))] if number == 0 else []
            banks[choice.key] = told[same]
        takes.append(
            take_facts(take)
            | {"sheet": put(take.sheet(quality)), "sound": put(take.heard()), "banks": banks}
        )
    labels = [choice.name for choice in choices if choice.kind == "label"]
    header = header_of([desk.names[k] for k in chosen], labels, desk.emotions)
    header |= {
        "live": False,
        "takes": takes,
        "read_at": READ_AT,
        "choices": [choice.told() for choice in choices],
    }
    given, block = (
        json.dumps(header).replace("</", "<\\/"),
        base64.b64encode(b"".join(pieces)).decode(),
    )
    name = f"dial-{hashlib.sha256((given + block).encode()).hexdigest()[:10]}"
    rows = ", ".join(
        html.escape(row) if row in labels else f"“{html.escape(row)}”" for row, _ in poster
    )
    words = f"Rows: {rows}. Columns: intensity {', '.join(f'{value:.2g}' for value in READ_AT)}; the first is the source."
    return (
        f'<style>{style()}</style><div class="cdrl-dial" id="{name}"><div class="cdrl-poster">'
        f'<img alt="One frame at five intensities of each emotion" src="{figures.jpeg_uri(np.concatenate([row for _, row in poster]), 80)}">'
        f"<p>{words}</p></div></div>\n"
        f"<script>(() => {{\n{code().replace('export default { render };', '')}\n"
        f'const header = {given};\ndial(document.getElementById("{name}"), header, held(header, "{block}"));\n}})();</script>'
    )


def _strip(take: SourceClip, bank: LowRankFields, cell: int = 112) -> np.ndarray:
    """(cell, 5 cell, 3): the middle frame at `READ_AT`."""
    middle, count = len(take.crops) // 2, len(take.crops)
    frames = [
        edit_with_fields(bank, take.crops, np.full(count, value, np.float32))[middle]
        for value in READ_AT
    ]
    return np.asarray(
        Image.fromarray(np.concatenate(frames, 1)).resize(
            (cell * len(READ_AT), cell), Image.LANCZOS
        )
    )


def header_of(names: list[str], emotions, labels) -> dict:
    """What the browser needs to draw the controls; json can write it.

    Args:
        names: of the clips. emotions: those that can be chosen. labels: those that readings are of.
    """
    return {
        "clips": [{"name": name} for name in names],
        "emotions": list(emotions),
        "colours": _colours(emotions),
        "labels": list(labels),
        "label_colours": _colours(labels),
        "levels": LEVELS,
    }


def take_facts(take: SourceClip) -> dict:
    """What the browser is told of a clip, besides its pictures and sound."""
    return {
        "name": take.name,
        "note": take.note,
        "frames": len(take.crops),
        "side": take.crops.shape[1],
        "rate": take.frame_rate,
        "columns": COLUMNS,
        "loudness": take.loudness(),
    }


def bank_shape(bank: LowRankFields) -> dict:
    """What `unpackBank` of warp.js needs to read `bank_bytes`."""
    return {
        "knots": bank.knots,
        "frames": bank.weights.shape[1],
        "rank": bank.weights.shape[2],
        "fine": bank.fine,
        "coarse": bank.coarse,
    }


def bank_bytes(bank: LowRankFields) -> bytes:
    """Scale (R,) float32, weights (K, T, R) int16, components (R, 3 fine^2 + coarse^2) int8, little-endian, one after the other."""
    parts = ((bank.scale, "<f4"), (bank.weights, "<i2"), (bank.components, "i1"))
    return b"".join(np.ascontiguousarray(values, kind).tobytes() for values, kind in parts)


def code() -> str:
    """The JavaScript of the dial, one module without imports."""
    return "\n".join((HERE / name).read_text() for name in ("warp.js", "dial.js"))


def style() -> str:
    """Its style sheet."""
    return (HERE / "dial.css").read_text()


def _colours(emotions) -> list[str]:
    """The colour that the explorer gives an emotion."""
    order = sorted(SCORED_EMOTIONS)
    return [
        figures.COLOURS[order.index(name) % len(figures.COLOURS)].lower()
        if name in order
        else "#666666"
        for name in emotions
    ]


def _rounded(readings: list[dict]) -> list[dict]:
    short = lambda value: None if value is None else round(value, 4)  # noqa: E731
    return [
        {
            "emotion": [short(p) for p in each["emotion"]],
            "content": short(each["content"]),
            "change": short(each["change"]),
        }
        for each in readings
    ]
