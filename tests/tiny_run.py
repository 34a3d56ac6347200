"""A run folder with two maps, written in a second: what explorer, dial and their tests read."""

import json
import shutil
from importlib.metadata import version

import numpy as np

from cdrl.core.paths import data_root
from cdrl.core.settings import stage_folder
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.corpora.store_writer import StoreWriter

SIDE = 48  # pixels of a face
FRAMES = 10  # of a clip
RATE = 25.0  # Hz
SAMPLE_RATE = 16000  # Hz
BRIGHTNESS = 30  # of the blue of frame k of a clip: BRIGHTNESS + 20 k
CONTENTS = 40  # dimensions of the content code
MOUTH_BOX = (0.2, 0.5, 0.8, 1.0)
NOISE = 0.05  # of both codes


def face(speaker, emotion, frame):
    """(48, 48, 3) uint8: red tells the emotion, green the speaker, blue the moment."""
    colour = (30 * SCORED_EMOTIONS.index(emotion) + 20, 60 * speaker + 40, BRIGHTNESS + 20 * frame)
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    picture[:] = colour
    return picture


def tiny_run(run, speakers=2, sentences=2, maps=True, made_by=None, sound=True):
    """Write a corpus of speakers x sentences x 7 emotions, embeddings, maps and results.

    Args:
        run: folder to make.
        speakers: number of people.
        sentences: number that each says.
        maps: False leaves the map files out.
        made_by: version of cdrl that the run claims.
        sound: False makes silent clips.

    Returns:
        Path of the run. Its content code is (sentence, moment), its emotion code is the emotion,
        each with a little noise.
    """
    codes = write_corpus(run, speakers, sentences, sound)
    folder = stage_folder(run, "probe")
    folder.mkdir(parents=True)
    random = np.random.default_rng(5)
    for space, clean in codes.items():
        code = clean + NOISE * random.standard_normal(clean.shape)
        np.save(folder / f"{space}.npy", code.astype(np.float16))
        projection = random.standard_normal((code.shape[1], 2))
        if maps:
            np.save(folder / f"map_{space}.npy", (code @ projection).astype(np.float32))
            np.save(folder / f"map_{space}_rows.npy", np.arange(len(code)))
    write_results(folder, "probe", {"content.viseme": 0.5}, made_by)
    return run


def write_corpus(run, speakers, sentences, sound):
    """Write the reporting store; return the clean codes of all frames, (N, D) each."""
    samples = np.arange(int(FRAMES / RATE * SAMPLE_RATE))
    tone = 0.3 * np.sin(samples / 8) * sound
    moments = np.arange(FRAMES)
    content, emotion = [], []
    with StoreWriter(stage_folder(run, "corpus") / "report") as writer:
        for speaker in range(speakers):
            for sentence in range(sentences):
                for index, name in enumerate(SCORED_EMOTIONS):
                    row = {
                        "name": f"{speaker}_{sentence}_{name}",
                        "corpus": "studio",
                        "split": "report",
                        "emotion": name,
                        "speaker": f"{speaker:04d}",
                        "sentence": f"{sentence:03d}",
                        "intensity": 1 + len(content) % 3,
                        "frame_rate": RATE,
                    }
                    faces = np.stack([face(speaker, name, frame) for frame in moments])
                    transforms = np.zeros((FRAMES, 2, 3))
                    truth = {"viseme": moments % 5 + sentence}
                    writer.add(row, faces, transforms, tone, MOUTH_BOX, truth)
                    content.append(np.eye(CONTENTS)[20 * sentence + moments])
                    emotion.append(np.tile(np.eye(len(SCORED_EMOTIONS))[index], (FRAMES, 1)))
    return {"content": np.concatenate(content), "emotion": np.concatenate(emotion)}


def tiny_dial(run, made_by=None):
    """Write a run that the dial can read: a tiny corpus, committed encoders and generator.

    Args:
        run: folder to make.
        made_by: version of cdrl that the run claims.
    """
    weights = data_root() / "weights"
    tiny_run(run, speakers=1, sentences=1)
    for stage in ("content", "emotion"):
        shutil.copytree(weights / "guidance" / stage, stage_folder(run, stage))
    folder = stage_folder(run, "generator")
    (folder / "cdrl").mkdir(parents=True)
    for kind in ("safetensors", "json"):
        shutil.copy(weights / f"generator.{kind}", folder / "cdrl" / f"model.{kind}")
    write_results(folder, "generator", {"spfem.loss": 0.5}, made_by)
    return run


def write_results(folder, stage, scores, made_by):
    """Write the results of one stage, as if a run of `made_by` had finished it."""
    record = {
        "config": {},
        "hash": "0",
        "seconds": 1.0,
        "peak_gb": 0.1,
        "scores": scores,
        "versions": {"cdrl": made_by or version("cdrl")},
    }
    (folder / "results.json").write_text(json.dumps({"stages": {stage: record}}))
