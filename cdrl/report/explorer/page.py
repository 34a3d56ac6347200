"""The explorer as one HTML file, for any browser, without a network."""

import base64
import html
import re
import sys
from pathlib import Path

import numpy as np
from tqdm import tqdm

from cdrl.core.files import atomic_path
from cdrl.core.pools import in_order
from cdrl.report.explorer.atlas import Atlas, read_atlas
from cdrl.report.explorer.payload import FOLDER, payload, script, style_sheet
from cdrl.report.html_page import script_json
from cdrl.report.small_film import films_of

FACE_SIDE = 64  # pixels
FACE_QUALITY = 70  # of their JPEGs
CLIPS_OF_A_JOB = 40  # whose films a worker process makes at once
WORKERS = 2
MARK = re.compile("%(TITLE|STYLE|DATA|HEADER|CODE)%")  # of page.html


def write_page(run: Atlas | Path | str, out: Path | str, points: int = 0) -> Path:
    """Write the explorer as one HTML file with maps, faces and clips inside.

    Args:
        run: folder of a run, or an `Atlas`.
        out: the file.
        points: as `read_atlas` takes it.

    Returns:
        `out`; 3,000 frames of 600 clips are some 13 MB.
    """
    progress = tqdm(desc="explorer", unit="file", leave=False, disable=_no_terminal())
    with progress:
        atlas = run if isinstance(run, Atlas) else read_atlas(run, points)
        out = Path(out)
        header, arrays = payload(atlas)
        clips = np.unique(atlas.clip)
        progress.reset(total=len(atlas.frames) + len(clips))
        beginning, faces = _faces(atlas, progress)
        films = _films(atlas, clips, progress)

    blocks = {"arrays": [arrays], "faces": [beginning, *faces], "films": films}
    header["clips"] = {}
    for position, clip in enumerate(clips):
        header["clips"][int(clip)] = [position, atlas.has_sound(clip)]
    header["lengths"] = {}
    for name, pieces in blocks.items():
        header["lengths"][name] = [len(piece) for piece in pieces]

    page = _fill_template(atlas.name, header, blocks)
    with atomic_path(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out


def _faces(atlas: Atlas, progress: tqdm) -> tuple[bytes, list[bytes]]:
    """The JPEG of every mapped frame, as their common beginning and what follows it in each.

    All JPEGs of one size and quality begin with the same tables, half of a small file.
    """
    pictures = []
    for position in range(len(atlas.frames)):
        pictures.append(atlas.face(position, FACE_SIDE, FACE_QUALITY))
        progress.update()

    beginning = _common_beginning(pictures)
    return beginning, [picture[len(beginning) :] for picture in pictures]


def _common_beginning(pieces: list[bytes]) -> bytes:
    """The bytes that all pieces begin with; what lies between the first and the last has them."""
    first = min(pieces)
    last = max(pieces)
    for position, byte in enumerate(first):
        if byte != last[position]:
            return first[:position]
    return first


def _films(atlas: Atlas, clips: np.ndarray, progress: tqdm) -> list[bytes]:
    """The mp4 of every one of (n,) clips."""
    jobs = []
    for start in range(0, len(clips), CLIPS_OF_A_JOB):
        numbers = clips[start : start + CLIPS_OF_A_JOB].tolist()
        jobs.append((atlas.store.path, numbers))

    films = []
    workers = min(WORKERS, len(jobs))
    for films_of_job in in_order(films_of, jobs, workers):
        films += films_of_job
        progress.update(len(films_of_job))
    return films


def _no_terminal() -> bool:
    """Whether a progress bar would be written into a log."""
    return not sys.stderr.isatty()


def _fill_template(name: str, header: dict, blocks: dict[str, list[bytes]]) -> str:
    """The text of page.html with a run's name, its data and the explorer's script and style."""
    values = {
        "TITLE": html.escape(f"cdrl explorer: {name}"),
        "STYLE": style_sheet(),
        "DATA": "".join(_data_element(name, pieces) for name, pieces in blocks.items()),
        "HEADER": script_json(header),
        "CODE": script().replace("export default", "const widget ="),
    }
    template = (FOLDER / "page.html").read_text()
    # In one pass: a label such as %CODE% must not be taken for a mark of the template.
    return MARK.sub(lambda match: values[match[1]], template)


def _data_element(name: str, pieces: list[bytes]) -> str:
    """A script element that holds bytes as base64."""
    encoded = base64.b64encode(b"".join(pieces)).decode()
    return f'<script type="application/octet-stream" id="{name}">{encoded}</script>\n'
