"""Seeded damage to files and values: what a test tries, in processes that may die or hang.

Every function here takes a seed and does the same again with it. A try returns "" where the kit
did its work or refused the input in one line, and else what went wrong.
"""

import contextlib
import hashlib
import io
import json
import random
import shutil
import traceback
from pathlib import Path

import av
import numpy as np
import pandas as pd
from safetensors.torch import save_file

ODD_VALUES = (
    None,
    True,
    False,
    0,
    -1,
    1,
    10**30,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "0",
    "-1",
    "nan",
    "²",
    "../..",
    "/",
    "\0",
    "\x1b[2J",
    "=1+1",
    "a" * 5000,
    [],
    {},
    [[]],
    {"a": 1},
    "\udce9",
)
LONGEST = 40.0  # seconds of one try
CONTAINERS = {
    ".mp4": ("libx264", "aac"),
    ".mkv": ("mpeg4", "mp2"),
    ".avi": ("mpeg4", "pcm_s16le"),
    ".webm": ("libvpx", "libopus"),
    ".mov": ("mjpeg", "pcm_s16le"),
    ".ts": ("libx264", "aac"),
}


def refused_or_done(function, *arguments):
    """Call a function; "" where it returns or raises InputError in one line, else what happened."""
    from cdrl.core.errors import InputError

    try:
        function(*arguments)
    except InputError as error:
        message = str(error)
        return "" if message and "\n" not in message else f"not one line: {message!r}"
    except Exception:
        return traceback.format_exc(limit=-6)
    return ""


def damage_json(value, choose):
    """A JSON value with one part replaced, removed, doubled or wrapped."""
    if isinstance(value, dict) and value and choose.random() < 0.8:
        key = choose.choice(sorted(value))
        way = choose.random()
        if way < 0.15:
            return {name: item for name, item in value.items() if name != key}
        if way < 0.3:
            return value | {str(choose.choice(ODD_VALUES)): choose.choice(ODD_VALUES)}
        return value | {key: damage_json(value[key], choose)}
    if isinstance(value, list) and value and choose.random() < 0.7:
        position = choose.randrange(len(value))
        way = choose.random()
        if way < 0.2:
            return value[:position] + value[position + 1 :]
        if way < 0.4:
            return [*value, value[position]]
        return [*value[:position], damage_json(value[position], choose), *value[position + 1 :]]
    return choose.choice((*ODD_VALUES, [value], {"a": value}))


def damage_bytes(content, choose):
    """Bytes with some flipped, cut, doubled, emptied, overwritten or put in another order."""
    content = bytearray(content)
    for _ in range(choose.choice((1, 1, 2, 5))):
        if not content:
            break
        way = choose.randrange(7)
        first = choose.randrange(len(content))
        if choose.random() < 0.4:  # headers lie at the begin
            first = choose.randrange(min(len(content), 200))
        length = choose.choice((1, 4, 16, 300, len(content) // 3 + 1))
        if way == 0:
            content[first] ^= 1 << choose.randrange(8)
        elif way == 1:
            del content[first:]
        elif way == 2:
            del content[first : first + length]
        elif way == 3:
            content[first:first] = content[first : first + length]
        elif way == 4:
            content[first : first + length] = bytes(len(content[first : first + length]))
        elif way == 5:
            content[first : first + length] = choose.randbytes(length)
        else:
            content[first : first + 4] = choose.choice(
                (b"\xff" * 4, b"\0\0\0\0", b"\x7f\xff\xff\xff")
            )
    return bytes(content)


# Files of the kit's own


def own_files(folder):
    """One file of each kind with what opens it, {name: (path, function of no argument)}."""
    import torch
    from tiny_run import tiny_run
    from torch import nn

    from cdrl.core.checkpoint import load_network, save_network
    from cdrl.core.results import read_results
    from cdrl.core.settings import CorpusConfig, stage_folder
    from cdrl.core.stage import check_stage, run_stage
    from cdrl.corpora.ingest_assembly import read_rejected
    from cdrl.corpora.store import Store
    from cdrl.corpora.store_sums import describe_sums
    from cdrl.evaluation.readings import ClipReading, References, load_references, save_references
    from cdrl.priors.feature_files import FeatureWriter, open_feature_file
    from cdrl.report.explorer.atlas import read_atlas
    from cdrl.study.job_code import read_job

    class Small(nn.Module):
        def __init__(self, features: int = 3):
            super().__init__()
            self.layer = nn.Linear(features, 2)

    folder = Path(folder)
    run = tiny_run(folder / "run", 1, 2)
    store = stage_folder(run, "corpus") / "report"
    probe = stage_folder(run, "probe")
    save_network(folder / "net", Small(), {"model": {"features": 3}})
    made = folder / "made"
    run_stage(CorpusConfig(), made, lambda out: {"corpus.clips": 3})
    made = stage_folder(made, "corpus")

    reading = ClipReading(np.zeros((2, 3)), np.zeros((2, 4, 2)), "sad", "sad", np.zeros(4))
    references = folder / "references.npz"
    save_references(References([reading], [reading], np.zeros((1, 4))), references)
    features = folder / "face.safetensors"
    writer = FeatureWriter(features, ["0" * 32], np.array([3]), 4, {"name": "p"})
    writer.write([0], np.ones((3, 4), np.float32))
    writer.finish()
    (folder / "rejected.csv").write_text("name,reason\na,too dark\n")
    (folder / "job.json").write_text('{"scores": {"a": 1.0}, "code": "x", "seconds": 1}')
    save_file({"text": torch.zeros(2)}, folder / "targets.safetensors")

    def open_store():
        describe_sums(store)
        Store(store)

    opened = {}
    for path in sorted(store.iterdir()):
        opened[f"store {path.name}"] = (path, open_store)
    for path in sorted(probe.glob("*.npy")):
        opened[f"probe {path.name}"] = (path, lambda: read_atlas(run))
    for name in ("model.json", "model.safetensors"):
        opened[name] = (folder / "net" / name, lambda: load_network(Small, folder / "net"))
    opened["results.json"] = (made / "results.json", lambda: read_results(made, of_run=True))
    config = made / "config.json"
    opened["config.json"] = (config, lambda: check_stage(CorpusConfig(), folder / "made"))
    opened["references.npz"] = (references, lambda: load_references(references))
    opened["features"] = (features, lambda: open_feature_file(features))
    opened["rejected.csv"] = (folder / "rejected.csv", lambda: read_rejected(folder))
    opened["job.json"] = (folder / "job.json", lambda: read_job(folder / "job.json"))
    return opened


def try_own_files(job):
    """Damage each file of the kit's own with one seed; what went wrong, by file."""
    folder, seed = job
    folder = Path(folder) / str(seed)
    faults = []
    for name, (path, open_it) in own_files(folder).items():
        whole = path.read_bytes()
        choose = random.Random(f"{seed} {name}")
        if path.suffix == ".json" and choose.random() < 0.6:
            damaged = json.dumps(damage_json(json.loads(whole), choose)).encode()
        else:
            damaged = damage_bytes(whole, choose)
        path.write_bytes(damaged)
        fault = refused_or_done(open_it)
        if fault:
            faults.append(f"seed {seed}, {name}: {fault}")
        elif path.read_bytes() != damaged and path.name != "fingerprints.json":
            faults.append(f"seed {seed}, {name}: was changed by reading it")
        path.write_bytes(whole)
    shutil.rmtree(folder)
    return faults


def damaged_manifest(valid, choose):
    """A manifest with one column of other values, or without one."""
    table = valid.copy()
    column = choose.choice(list(table.columns))
    way = choose.random()
    if way < 0.15:
        return table.drop(columns=column)
    values = [choose.choice(ODD_VALUES) for _ in range(len(table))]
    if way < 0.6:
        values = [values[0]] * len(table)
    table[column] = pd.Series(values, dtype=object)
    return table


# Media


def media_seed(path, frames, sound, rate=25):
    """Write some frames, (T, H, W, 3), with sound, (S,) float32, as the path's name says."""
    picture_codec, sound_codec = CONTAINERS[path.suffix]
    with av.open(str(path), "w") as container:
        video = container.add_stream(picture_codec, rate=rate)
        video.height, video.width = frames.shape[1:3]
        video.pix_fmt = "yuvj420p" if picture_codec == "mjpeg" else "yuv420p"
        rate_of_sound = 48000 if sound_codec == "libopus" else 16000
        audio = container.add_stream(sound_codec, rate=rate_of_sound, layout="mono")
        for image in frames:
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(video.encode(None))
        samples = (np.clip(sound, -1, 1) * 32767).astype(np.int16)
        samples = np.repeat(samples, rate_of_sound // 16000)[None]
        frame = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
        frame.sample_rate = rate_of_sound
        resampler = av.AudioResampler(format=audio.format, layout="mono", rate=rate_of_sound)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            part.pts = None
            container.mux(audio.encode(part))
        container.mux(audio.encode(None))


def media_seeds(folder):
    """Whole short clips of one face in every container here, and the committed one."""
    from cdrl.corpora.samples import sample_paths
    from cdrl.media.video import read_video

    folder.mkdir(parents=True, exist_ok=True)
    original = Path(sample_paths()[0])
    clip = read_video(original)
    frames = np.asarray(clip.frames)[:10]
    for suffix in CONTAINERS:
        media_seed(folder / f"clip{suffix}", frames, np.asarray(clip.audio)[:6400])
    shutil.copy(original, folder / f"clip{original.suffix}")
    return sorted(folder.iterdir())


def damage_media(source, out, seed):
    """Write a damaged copy of a clip: bytes changed, or two files of two kinds put together."""
    choose = random.Random(seed)
    content = damage_bytes(source.read_bytes(), choose)
    if choose.random() < 0.1:
        content += source.read_bytes()
    suffix = source.suffix if choose.random() < 0.9 else choose.choice(sorted(CONTAINERS))
    path = out / f"{seed}{suffix}"
    path.write_bytes(content)
    return path


def run_command(words):
    """Run a command of the kit in this process; "" for an exit status of 0 or 2 in one line."""
    from cdrl.cli.main import main

    said, errors = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(errors):
            status = main(words)
    except BaseException:
        return f"cdrl {' '.join(words)}: {traceback.format_exc(limit=-6)}"
    last = errors.getvalue().strip().splitlines()
    if status not in (0, 2) or "Traceback" in errors.getvalue():
        return f"cdrl {' '.join(words)}: status {status}: {' / '.join(last[-3:])}"
    return ""


def try_edit(job):
    """Edit one file, which must not change."""
    path, out = job
    before = hashlib.sha256(path.read_bytes()).digest()
    fault = run_command(["edit", str(path), "happy", "--out", str(out)])
    if path.exists() and hashlib.sha256(path.read_bytes()).digest() == before:
        return fault
    return f"{path} was modified; {fault}"


def try_ingest(job):
    """Ingest a folder of damaged clips, which must not change."""
    root, out = job
    files = sorted(path for path in root.rglob("*") if path.is_file())
    before = [hashlib.sha256(path.read_bytes()).digest() for path in files]
    words = ["data", "ingest", str(root), "--corpus", "folder", "--out", str(out)]
    words += ["--template", "{speaker}/{emotion}/{sentence}", "--workers", "1", "--limit", "40"]
    fault = run_command(words)
    after = [hashlib.sha256(path.read_bytes()).digest() for path in files if path.exists()]
    return fault if after == before else f"{root} was modified; {fault}"
