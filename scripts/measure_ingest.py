"""Measure what an ingest costs by the number of clips, and what a real corpus would cost by that.

    python scripts/measure_ingest.py --clips 100,1000,10000 --work runs/scale
    python scripts/measure_ingest.py --corpora --work runs/scale
    python scripts/measure_ingest.py --shards --work runs/scale
    python scripts/measure_ingest.py --tables

The first renders 56 short clips of talking heads and lays them out as MEAD, under as many names as
asked for: a file stands under many names by hard links, so that a corpus of 10,000 clips takes no
disk, and is read from memory. Each size is ingested by `cdrl data ingest`, stopped by kill when
a third of it is done, and ingested again to the end, and once more when it is finished.
The second ingests clips as long and as large as those of real corpora. The third ingests so many of
the samples, as large crops, that the store has two shards, is killed when the first is joined, and
goes on; it needs 11 GB of disk. All write into results/scale/ingest.json, and leave out what is
there (`--again`: not). The last prints the tables of docs/guides/scale.md.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from measure_edit import MEGABYTE, family, memory_of, write_long_video

from cdrl.core.files import read_json, write_json
from cdrl.core.paths import data_root, repository_root
from cdrl.corpora.adapters import CORPORA
from cdrl.corpora.store import Store
from cdrl.corpora.store_writer import SHARD_BYTES
from cdrl.media.encoding import write_video
from cdrl.media.video import read_video
from cdrl.studio.layouts import write_layout

RECORD = repository_root() / "results" / "scale" / "ingest.json"
SIZE = 128  # pixels a side of the rendered clips
FRAMES = 5  # of a rendered clip
RATE = 25  # Hz
SAMPLES_A_FRAME = 640
WORKERS = 2
LOOK = 0.2  # seconds between two looks at memory and pieces
FIRST_LOOK = 0.05  # until the first clip is done
# Of MEAD, for each speaker: neutral at one level, seven emotions at three.
GRID = {"neutral": (1,)} | dict.fromkeys(
    ("angry", "contempt", "disgusted", "fear", "happy", "sad", "surprised"), (1, 2, 3)
)
NUMBERS = 30  # of each emotion and level
SHARD_CLIPS, SHARD_CROP = 700, 224  # clips and pixels a side of the store with two shards
FEW, MANY = 8, 24  # clips of a real corpus's length and size; their difference is without start-up


@dataclass(frozen=True)
class RealCorpus:
    """What is public of a corpus; the seconds of a clip are those that `cdrl data check` guesses.

    Attributes:
        clips: that the kit would take.
        height: of the pictures, pixels, 16:9; 0: the samples as they are, 480x360.
    """

    clips: int
    height: int


# Numbers of clips: CREMA-D's repository; 24 actors of RAVDESS with 60 spoken trials each; the front
# clips of MEAD in the list of SPECTRE, see `cdrl.corpora.adapters`.
REAL = {
    "crema-d": RealCorpus(7442, 0),
    "ravdess": RealCorpus(1440, 720),
    "mead": RealCorpus(31_060, 1080),
    "mead, 7 views": RealCorpus(7 * 31_060, 1080),
}


# --- clips ----------------------------------------------------------------------------------------


def render_clips(folder: Path) -> list[Path]:
    """Render short clips of talking heads with sound; those that are there stay.

    Args:
        folder: where.

    Returns:
        The files, in order.
    """
    whole = write_layout("ravdess", folder / "whole", 4, 2, SIZE)
    short = []
    for path in whole:
        if path.suffix != ".mp4":
            continue
        target = folder / f"short_{FRAMES}" / path.name
        short.append(target)
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        clip = read_video(path)
        begin = len(clip.frames) // 3  # where everybody speaks
        sound = clip.audio[begin * SAMPLES_A_FRAME : (begin + FRAMES) * SAMPLES_A_FRAME]
        write_video(target, clip.frames[begin : begin + FRAMES], RATE, sound)
    return short


def lay_out(root: Path, files: list[Path], number: int) -> None:
    """Give files the names of a corpus laid out as MEAD.

    Args:
        root: of the corpus, on the disk of the files.
        files: that stand in turn under the names.
        number: of clips.
    """
    for index, name in enumerate(mead_names(number)):
        file = files[index % len(files)]
        path = (root / name).with_suffix(file.suffix)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            os.link(file, path)


def mead_names(number: int) -> Iterator[str]:
    """Yield so many names of clips, speaker after speaker."""
    count = 0
    for speaker in range(1, 1000):
        for emotion, levels in GRID.items():
            for level in levels:
                folder = f"M{speaker:03d}/video/front/{emotion}/level_{level}"
                for clip in range(1, NUMBERS + 1):
                    if count == number:
                        return
                    yield f"{folder}/{clip:03d}.mp4"
                    count += 1


# --- one command ----------------------------------------------------------------------------------


@dataclass
class Cost:
    """What one command took.

    Attributes:
        wall: seconds.
        user: seconds of the processor in the command's own code, workers included.
        system: likewise in the kernel.
        written: bytes that were handed to the kernel to write.
        parent: peak memory of the command's own process, MB; shared pages of files are not counted.
        worker: likewise of the largest other process.
        together: peak of all, with the pages of files, MB.
        first_clip: seconds until the first clip was done; 0 where all were.
        first_clip_cpu: seconds of the processor, of all processes, until then.
        peak_disk: bytes that the disk held more than before, at most; others' files count too.
        output: what the command printed.
    """

    wall: float = 0.0
    user: float = 0.0
    system: float = 0.0
    written: int = 0
    parent: float = 0.0
    worker: float = 0.0
    together: float = 0.0
    first_clip: float = 0.0
    first_clip_cpu: float = 0.0
    peak_disk: int = 0
    output: str = field(default="", repr=False)


def own_megabytes(process: psutil.Process) -> float:
    """Memory of a process without the pages of files that it maps, MB; 0 where it has ended."""
    with suppress(psutil.Error):
        memory = process.memory_info()
        return (memory.rss - getattr(memory, "shared", 0)) / MEGABYTE
    return 0.0


def cpu_seconds(process: psutil.Process) -> float:
    """Seconds of the processor that a process and its children have used."""
    seconds = 0.0
    for member in family(process):
        with suppress(psutil.Error):
            times = member.cpu_times()
            seconds += times.user + times.system
    return seconds


def count_pieces(folder: Path) -> int:
    """How many clips are done in the folder of pieces, unfinished ones included; 0: no folder."""
    with suppress(OSError):
        return sum(entry.is_dir() for entry in os.scandir(folder))
    return 0


def run_ingest(
    root: Path,
    out: Path,
    corpus: str,
    stop_at: int = 0,
    kill_at: Path | None = None,
    crop_size: int = 96,
) -> Cost:
    """Run `cdrl data ingest` and watch it.

    Args:
        root: of the corpus.
        out: folder of the store.
        corpus: name of the layout.
        stop_at: so many clips are done when it is asked to end (SIGTERM); 0: never.
        kill_at: it is killed (SIGKILL) when this file is there.
        crop_size: pixels a side.

    Raises:
        CalledProcessError: it failed.
    """
    words = [sys.executable, "-m", "cdrl.cli.main", "data", "ingest", str(root), "--out", str(out)]
    words += ["--corpus", corpus, "--workers", str(WORKERS), "--crop-size", str(crop_size)]
    pieces = out.with_name(out.name + ".pieces")
    done_before = count_pieces(pieces)
    cost = Cost()
    me = psutil.Process()
    # What children read, write and use counts when they have ended.
    times = me.cpu_times()
    written = me.io_counters().write_chars
    begin = time.monotonic()
    log = out.with_name(out.name + ".log")
    disk_before = shutil.disk_usage(out.parent).used
    with open(log, "w") as output:
        command = subprocess.Popen(words, stdout=output, stderr=subprocess.STDOUT)
    stopped = False
    while command.poll() is None:
        look(psutil.Process(command.pid), cost)
        cost.peak_disk = max(cost.peak_disk, shutil.disk_usage(out.parent).used - disk_before)
        num_pieces = count_pieces(pieces)
        if not cost.first_clip and num_pieces > done_before + WORKERS:
            cost.first_clip = time.monotonic() - begin
            cost.first_clip_cpu = cpu_seconds(psutil.Process(command.pid))
        if stop_at and num_pieces >= stop_at and not stopped:
            command.send_signal(signal.SIGTERM)
            stopped = True
        if kill_at is not None and kill_at.exists() and not stopped:
            command.kill()
            stopped = True
        with suppress(subprocess.TimeoutExpired):
            command.wait(LOOK if cost.first_clip else FIRST_LOOK)
    if command.returncode and not stopped:
        raise subprocess.CalledProcessError(command.returncode, words, log.read_text())

    cost.wall = time.monotonic() - begin
    times_after = me.cpu_times()
    cost.user = times_after.children_user - times.children_user
    cost.system = times_after.children_system - times.children_system
    cost.written = me.io_counters().write_chars - written
    cost.output = log.read_text()
    return cost


def look(process: psutil.Process, cost: Cost) -> None:
    """Look at the memory of a command, and keep its peaks."""
    cost.parent = max(cost.parent, own_megabytes(process))
    for member in list(family(process))[1:]:
        cost.worker = max(cost.worker, own_megabytes(member))
    cost.together = max(cost.together, memory_of(process) / MEGABYTE)


# --- measurements ---------------------------------------------------------------------------------


def folder_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir())


def measure_size(work: Path, number: int) -> dict[str, Any]:
    """Ingest a corpus of so many rendered clips: a third, the rest, and once more.

    Args:
        work: folder for corpora and stores.
        number: of clips.

    Returns:
        What `results/scale/ingest.json` has for a number of clips.
    """
    root = work / f"mead_{number}"
    lay_out(root, render_clips(work / "clips"), number)
    out = work / f"store_{number}"
    if out.exists():
        shutil.rmtree(out)  # made by an earlier call of this script
    first = run_ingest(root, out, "mead", stop_at=number // 3)
    done = count_pieces(out.with_name(out.name + ".pieces"))
    rest = run_ingest(root, out, "mead")
    again = run_ingest(root, out, "mead")
    store = Store(out)
    both = (first, rest)
    entry = {
        "clips": len(store.clips),
        "frames": len(store),
        "workers": WORKERS,
        "clips_when_stopped": done,
        "wall_seconds": round(first.wall + rest.wall, 1),
        "user_cpu_seconds": round(first.user + rest.user, 1),
        "system_cpu_seconds": round(first.system + rest.system, 1),
        "first_clip_seconds": round(first.first_clip, 1),
        "first_clip_cpu_seconds": round(first.first_clip_cpu, 1),
        "first_clip_of_the_resume_seconds": round(rest.first_clip, 1),
        "first_clip_of_the_resume_cpu_seconds": round(rest.first_clip_cpu, 1),
        "finished_again_seconds": round(again.wall, 1),
        "finished_again_cpu_seconds": round(again.user + again.system, 1),
        "parent_mb": round(max(cost.parent for cost in both)),
        "worker_mb": round(max(cost.worker for cost in both)),
        "together_mb": round(max(cost.together for cost in both)),
        "written_bytes": first.written + rest.written,
        "store_bytes": folder_bytes(out),
        "table_bytes": (out / "clips.parquet").stat().st_size,
    }
    del store
    shutil.rmtree(out)
    return entry


def real_clips(folder: Path, name: str) -> list[Path]:
    """Write clips as long and as large as those of a real corpus; those that are there stay.

    The pictures are the samples': a person who speaks, with black beside him where they are wider.

    Args:
        folder: where.
        name: in `REAL`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seconds = CORPORA[name].seconds
    files = []
    for sample in sorted((data_root() / "samples").glob("*.flv")):
        file = folder / sample.name
        if REAL[name].height:
            file = folder / f"{sample.stem}_{REAL[name].height}_{seconds:g}s.mp4"
        files.append(file)
        if file.exists():
            continue
        if REAL[name].height:
            write_long_video(file, sample, seconds / 60, REAL[name].height)
        else:
            shutil.copyfile(sample, file)
    return files


def measure_corpus(work: Path, name: str) -> dict[str, Any]:
    """Ingest few and many clips like those of a real corpus; the difference has no start-up.

    Args:
        work: folder for corpora and stores.
        name: in `REAL`.

    Returns:
        Processor time and bytes of a clip.
    """
    files = real_clips(work / "clips" / name, name)
    costs = []
    frames = []
    sizes = []
    for number in (FEW, MANY):
        root = work / f"{name}_{number}"
        lay_out(root, files, number)
        out = work / f"{name}_{number}_store"
        if out.exists():
            shutil.rmtree(out)  # made by an earlier call of this script
        costs.append(run_ingest(root, out, "mead"))
        frames.append(len(Store(out)))
        sizes.append(folder_bytes(out))
        shutil.rmtree(out)
    few, many = costs
    clips = MANY - FEW
    return {
        "frames_a_clip": (frames[1] - frames[0]) / clips,
        "user_cpu_seconds_a_clip": round((many.user - few.user) / clips, 3),
        "system_cpu_seconds_a_clip": round((many.system - few.system) / clips, 3),
        "store_bytes_a_clip": round((sizes[1] - sizes[0]) / clips),
        "worker_mb": round(many.worker),
    }


def measure_shards(work: Path) -> dict[str, Any]:
    """Ingest a store of two shards: killed when the first is joined, then to the end.

    Args:
        work: folder for corpus and store.

    Returns:
        What `results/scale/ingest.json` has under `shards`.
    """
    root = work / f"shards_{SHARD_CLIPS}"
    lay_out(root, real_clips(work / "clips" / "crema-d", "crema-d"), SHARD_CLIPS)
    out = work / "shards_store"
    if out.exists():
        shutil.rmtree(out)  # made by an earlier call of this script
    first_record = out.with_name(out.name + ".partial") / "shard.000.json"
    used_before = shutil.disk_usage(work).used
    first = run_ingest(root, out, "mead", kill_at=first_record, crop_size=SHARD_CROP)
    joined = len(read_json(first_record, fields={"rows": list})["rows"])
    used_between = shutil.disk_usage(work).used - used_before
    rest = run_ingest(root, out, "mead", crop_size=SHARD_CROP)
    read_again = re.search(r"(\d+) of them now", rest.output)
    store = Store(out)
    entry = {
        "clips": len(store.clips),
        "frames": len(store),
        "crop_size": SHARD_CROP,
        "shards": store.num_shards,
        "clips_joined_when_killed": joined,
        "frames_cropped_again": int(read_again[1]) if read_again else None,
        "wall_seconds": round(first.wall + rest.wall, 1),
        "wall_seconds_of_the_resume": round(rest.wall, 1),
        "cpu_seconds": round(first.user + first.system + rest.user + rest.system, 1),
        "store_bytes": folder_bytes(out),
        "largest_file_bytes": max(path.stat().st_size for path in out.iterdir()),
        "peak_disk_bytes": max(first.peak_disk, used_between + rest.peak_disk),
        "parent_mb": round(max(first.parent, rest.parent)),
    }
    del store
    shutil.rmtree(out)
    return entry


# --- tables ---------------------------------------------------------------------------------------


def size_table(record: dict[str, Any]) -> list[str]:
    """Lines of the table of cost by number of clips.

    Args:
        record: content of `results/scale/ingest.json`.
    """
    lines = [
        "| clips | wall s | CPU s | CPU ms a clip | CPU s until the first clip | after a kill "
        "until the next | again when finished | peak MB: command, a worker | written, of the "
        "store | table, bytes a clip |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for entry in sorted(record["sizes"].values(), key=lambda entry: entry["clips"]):
        cpu = entry["user_cpu_seconds"] + entry["system_cpu_seconds"]
        lines.append(
            f"| {entry['clips']:,} | {entry['wall_seconds']:,.0f} | {cpu:,.0f} | "
            f"{1000 * cpu / entry['clips']:.0f} | {entry['first_clip_cpu_seconds']:.1f} | "
            f"{entry['first_clip_of_the_resume_cpu_seconds']:.1f} | "
            f"{entry['finished_again_cpu_seconds']:.1f} | {entry['parent_mb']}, "
            f"{entry['worker_mb']} | {entry['written_bytes'] / entry['store_bytes']:.2f} | "
            f"{entry['table_bytes'] / entry['clips']:.0f} |"
        )
    return lines


def corpus_table(record: dict[str, Any]) -> list[str]:
    """Lines of the table of what real corpora would cost.

    Args:
        record: content of `results/scale/ingest.json`.
    """
    lines = [
        "| corpus | clips | hours of video | CPU s a clip | core hours | GB of the store | "
        "GB at most |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, real in REAL.items():
        layout = name.partition(",")[0]
        entry = record["corpora"][layout]
        seconds = entry["user_cpu_seconds_a_clip"] + entry["system_cpu_seconds_a_clip"]
        video_hours = real.clips * CORPORA[layout].seconds / 3600
        gigabytes = real.clips * entry["store_bytes_a_clip"] / 1e9
        shard = min(gigabytes, SHARD_BYTES / 1e9)
        lines.append(
            f"| {name} | {real.clips:,} | {video_hours:.1f} | {seconds:.2f} | "
            f"{real.clips * seconds / 3600:.1f} | {gigabytes:,.0f} | {gigabytes + shard:,.0f} |"
        )
    return lines


def print_tables(record: dict[str, Any]) -> None:
    """Print what has been measured."""
    if record["sizes"]:
        print("\n".join(size_table(record)))
    if set(record["corpora"]) == {name.partition(",")[0] for name in REAL}:
        print("\n".join(corpus_table(record)))


def load_record() -> dict[str, Any]:
    """What has been measured, empty where nothing has."""
    if RECORD.exists():
        return read_json(RECORD, fields={"sizes": dict, "corpora": dict})
    return {"cores": os.cpu_count(), "frames_of_a_clip": FRAMES, "sizes": {}, "corpora": {}}


def main() -> None:
    """Measure what is asked for and not there; print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clips", default="", help="numbers of clips, as 100,1000,10000")
    parser.add_argument("--corpora", action="store_true", help="clips as those of real corpora")
    parser.add_argument("--shards", action="store_true", help="a store of two shards")
    parser.add_argument("--work", type=Path, default=Path("runs/scale"), help="folder for clips")
    parser.add_argument("--again", action="store_true", help="also what is measured already")
    parser.add_argument("--tables", action="store_true", help="print the tables alone")
    arguments = parser.parse_args()

    record = load_record()
    numbers = [] if arguments.tables else arguments.clips.split(",")
    for number in numbers:
        if number and (arguments.again or number not in record["sizes"]):
            record["sizes"][number] = measure_size(arguments.work, int(number))
            write_json(RECORD, record)
            print(f"{number}: {record['sizes'][number]}", flush=True)
    layouts = [name for name in REAL if name in CORPORA]
    for name in layouts if arguments.corpora else ():
        if arguments.again or name not in record["corpora"]:
            record["corpora"][name] = measure_corpus(arguments.work, name)
            write_json(RECORD, record)
            print(f"{name}: {record['corpora'][name]}", flush=True)
    if arguments.shards and (arguments.again or "shards" not in record):
        record["shards"] = measure_shards(arguments.work)
        write_json(RECORD, record)
        print(f"shards: {record['shards']}", flush=True)
    print_tables(record)


if __name__ == "__main__":
    main()
