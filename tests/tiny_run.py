"""A run folder with two maps, written by hand in a second: what the explorer and its tests in a browser read."""

import json
import shutil
from importlib.metadata import version

import numpy as np

from cdrl.core.paths import data_root
from cdrl.core.settings import stage_folder
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.corpora.store import StoreWriter

SIDE, FRAMES, RATE = 48, 10, 25.0
BRIGHTNESS = 30  # of the blue of frame k of a clip: BRIGHTNESS + 20 k


def face(speaker, emotion, frame):
    """(48, 48, 3) uint8: red tells the emotion, green the speaker, blue the moment."""
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    picture[:] = (
        30 * SCORED_EMOTIONS.index(emotion) + 20,
        60 * speaker + 40,
        BRIGHTNESS + 20 * frame,
    )
    return picture


def tiny_run(run, speakers=2, sentences=2, maps=True, made_by=None, sound=True):
    """Writes a corpus of speakers x sentences x 7 emotions, embeddings, maps and results.

    Args:
        run: folder to make. maps: False leaves the map files out. made_by: version of cdrl that it claims.

    Returns:
        Path of the run; its content is (sentence, moment), its emotion is the emotion, each with a little noise.
    """
    rng, content, emotion, clips = np.random.default_rng(5), [], [], 0
    tone = 0.3 * np.sin(np.arange(int(FRAMES / RATE * 16000)) / 8) * sound
    with StoreWriter(stage_folder(run, "corpus") / "report") as writer:
        for speaker in range(speakers):
            for sentence in range(sentences):
                for name in SCORED_EMOTIONS:
                    row = {
                        "name": f"{speaker}_{sentence}_{name}",
                        "corpus": "studio",
                        "split": "report",
                        "emotion": name,
                        "speaker": f"{speaker:04d}",
                        "sentence": f"{sentence:03d}",
                        "intensity": 1 + clips % 3,
                        "frame_rate": RATE,
                    }
                    faces = np.stack([face(speaker, name, frame) for frame in range(FRAMES)])
                    truth = {"viseme": np.arange(FRAMES) % 5 + sentence}
                    writer.add(
                        row, faces, np.zeros((FRAMES, 2, 3)), tone, (0.2, 0.5, 0.8, 1.0), truth
                    )
                    content.append(np.eye(40)[20 * sentence + np.arange(FRAMES)])
                    emotion.append(np.tile(np.eye(7)[SCORED_EMOTIONS.index(name)], (FRAMES, 1)))
                    clips += 1
    folder = stage_folder(run, "probe")
    folder.mkdir(parents=True)
    for space, rows in (("content", content), ("emotion", emotion)):
        values = np.concatenate(rows) + 0.05 * rng.standard_normal(
            (clips * FRAMES, rows[0].shape[1])
        )
        np.save(folder / f"{space}.npy", values.astype(np.float16))
        flat = values @ rng.standard_normal((values.shape[1], 2))
        if maps:
            np.save(folder / f"map_{space}.npy", flat.astype(np.float32))
            np.save(folder / f"map_{space}_rows.npy", np.arange(len(flat)))
    record = {
        "config": {},
        "hash": "0",
        "seconds": 1.0,
        "peak_gb": 0.1,
        "scores": {"content.viseme": 0.5},
        "versions": {"cdrl": made_by or version("cdrl")},
    }
    (folder / "results.json").write_text(json.dumps({"stages": {"probe": record}}))
    return run


def tiny_dial(run, made_by=None):
    """Writes a run that the dial can turn: a tiny corpus, the committed encoders and the committed generator."""
    weights = data_root() / "weights"
    tiny_run(run, speakers=1, sentences=1)
    for stage in ("content", "emotion"):
        shutil.copytree(weights / "guidance" / stage, stage_folder(run, stage))
    folder = stage_folder(run, "generator")
    (folder / "cdrl").mkdir(parents=True)
    for kind in ("safetensors", "json"):
        shutil.copy(weights / f"generator.{kind}", folder / "cdrl" / f"model.{kind}")
    record = {
        "config": {},
        "hash": "0",
        "seconds": 1.0,
        "peak_gb": 0.1,
        "scores": {"spfem.loss": 0.5},
        "versions": {"cdrl": made_by or version("cdrl")},
    }
    (folder / "results.json").write_text(json.dumps({"stages": {"generator": record}}))
    return run
