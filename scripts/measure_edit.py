"""Measure the time and the memory of an edit of long videos.

    python scripts/measure_edit.py runs/long --minutes 1,10 --size 1080

Writes a video of each length, 16:9, a clip of a talking face forwards and backwards again and
again, with its sound, and edits it by `cdrl edit`. Prints a line for each length: seconds, CPU
seconds, and the memory of all processes of the command: their own pages, and the pages of files,
which they share, of the process that has most of them.
Memory that is flat in length has the same peak in each line. A table beside each edit has all looks
at the memory.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import numpy as np
import psutil

from cdrl.core.ending import Stopped, stopped_by_signals
from cdrl.core.paths import data_root
from cdrl.media.audio import AUDIO_RATE
from cdrl.media.video import Clip, read_video

RATE = 25  # Hz
LOOK = 2.0  # seconds between two looks at the memory
MEGABYTE = 1 << 20
PARTS = 4  # of the time of an edit, whose peaks are printed
SOURCE = data_root() / "samples" / "1001_DFA_NEU_XX.flv"


def write_long_video(path: Path, source: Path, minutes: float, height: int) -> None:
    """Write a clip forwards and backwards until it has the length, in the middle of 16:9 black.

    Args:
        path: an .mp4.
        source: a short clip.
        minutes: length of the video.
        height: of the pictures, pixels.
    """
    clip = read_video(source, require_audio=True)
    pictures = [_framed(picture, height) for picture in clip.frames]
    swing = cycle(pictures + pictures[-2:0:-1])

    temporary = path.with_suffix(".part.mp4")
    with av.open(str(temporary), "w") as container:
        video = container.add_stream("libx264", RATE, {"preset": "ultrafast", "crf": "20"})
        video.width, video.height = pictures[0].width, pictures[0].height
        video.pix_fmt = "yuv420p"
        audio = container.add_stream("aac", AUDIO_RATE, layout="mono")
        for index, picture in enumerate(islice(swing, round(60 * minutes * RATE))):
            picture.pts = index
            picture.time_base = Fraction(1, RATE)
            container.mux(video.encode(picture))
            if index % RATE == 0:
                container.mux(audio.encode(_second_of_sound(clip, index // RATE)))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))
    temporary.rename(path)


def _framed(picture: np.ndarray, height: int) -> av.VideoFrame:
    """An (H, W, 3) uint8 picture at a height in pixels, black beside it up to 16:9."""
    width = 2 * round(height * 16 / 18)
    scaled_width = min(width, 2 * round(height * picture.shape[1] / picture.shape[0] / 2))
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    scaled = frame.reformat(scaled_width, height).to_ndarray(format="rgb24")

    left = (width - scaled_width) // 2
    margins = ((0, 0), (left, width - scaled_width - left), (0, 0))
    padded = np.pad(scaled, margins)
    return av.VideoFrame.from_ndarray(padded, format="rgb24").reformat(format="yuv420p")


def _second_of_sound(clip: Clip, second: int) -> av.AudioFrame:
    """One second of the clip's sound, which begins again where it ends."""
    numbers = np.arange(second * AUDIO_RATE, (second + 1) * AUDIO_RATE) % len(clip.audio)
    samples = np.ascontiguousarray(clip.audio[numbers][None], np.float32)
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate = AUDIO_RATE
    frame.pts = second * AUDIO_RATE
    return frame


def family(process: psutil.Process) -> Iterator[psutil.Process]:
    """Yield a process and all that it started, as far as they live."""
    yield process
    with suppress(psutil.Error):
        yield from process.children(recursive=True)


def memory_of(process: psutil.Process) -> int:
    """Bytes of a process and its children; other commands that share libraries do not matter."""
    own_pages = 0
    file_pages = 0
    for member in family(process):
        with suppress(psutil.Error):
            memory = member.memory_info()
            of_files = getattr(memory, "shared", 0)
            own_pages += memory.rss - of_files
            file_pages = max(file_pages, of_files)
    return own_pages + file_pages


def measure_edit(video: Path, out: Path, options: list[str]) -> str:
    """Edit a video and say what that took.

    Args:
        video: source.
        out: the edit.
        options: more words of the command.

    Raises:
        CalledProcessError: the edit failed.
    """
    words = [sys.executable, "-m", "cdrl.cli.main", "edit", str(video), "--emotion", "happy"]
    words += ["--out", str(out), *options]
    before = time.monotonic()
    children_before = psutil.Process().cpu_times()
    command = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    watched = psutil.Process(command.pid)
    looks = []
    with open(out.with_suffix(".csv"), "w") as table:
        table.write("seconds,megabytes\n")
        while command.poll() is None:
            looks.append(memory_of(watched))
            seconds = time.monotonic() - before
            table.write(f"{seconds:.1f},{looks[-1] / MEGABYTE:.0f}\n")
            table.flush()
            with suppress(subprocess.TimeoutExpired):
                command.wait(LOOK)
    if command.returncode:
        raise subprocess.CalledProcessError(command.returncode, words)

    seconds = time.monotonic() - before
    children = psutil.Process().cpu_times()
    cpu_seconds = children.children_user - children_before.children_user
    cpu_seconds += children.children_system - children_before.children_system
    peaks = [max(part) / MEGABYTE for part in np.array_split(np.array(looks), PARTS)]
    quarters = " ".join(f"{peak:.0f}" for peak in peaks)
    return (
        f"{seconds:.0f} s, {cpu_seconds:.0f} CPU s, peak {max(peaks):.0f} MB "
        f"(quarters of the time: {quarters})"
    )


def main() -> None:
    """Write and edit a video of each length; keeps videos that are there."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("work", type=Path, help="folder for the videos")
    parser.add_argument("--minutes", default="1,10", help="lengths")
    parser.add_argument("--size", type=int, default=1080, help="height of the pictures, pixels")
    parser.add_argument("--source", type=Path, default=SOURCE, help="a short clip with sound")
    parser.add_argument("--options", default="", help="more words for cdrl edit")
    arguments = parser.parse_args()

    arguments.work.mkdir(parents=True, exist_ok=True)
    for minutes in arguments.minutes.split(","):
        name = f"{arguments.source.stem}_{arguments.size}_{minutes}min"
        video = arguments.work / f"{name}.mp4"
        if not video.exists():
            write_long_video(video, arguments.source, float(minutes), arguments.size)
        edited = arguments.work / f"{name}_edit.mp4"
        with stopped_by_signals():
            account = measure_edit(video, edited, arguments.options.split())
        print(f"{minutes} min at {arguments.size}: {account}", flush=True)


if __name__ == "__main__":
    try:
        main()
    except Stopped as stop:
        print(f"stopped by {stop}", file=sys.stderr)
        sys.exit(stop.status)
