"""Codes whose score is known beforehand, on a small crossed corpus of labels without any picture."""

import numpy as np
import pandas as pd

from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.evaluation.leakage import ProbeCorpus
from cdrl.evaluation.probe_splits import frame_table


def labelled_corpus(
    speakers=8, sentences=6, intensities=(2,), seed=0, phones=6, longest=3
) -> ProbeCorpus:
    """Speakers x sentences x seven emotions (x intensities); takes differ in timing, 1 to `longest` frames a phone."""
    rng = np.random.default_rng([seed, 1])
    texts = [
        np.r_[0, rng.permutation(np.arange(1, phones + 2))[:phones], 0] for _ in range(sentences)
    ]
    rows, phoneme = [], []
    for speaker in range(speakers):
        for sentence, text in enumerate(texts):
            for emotion in SCORED_EMOTIONS:
                for intensity in (1,) if emotion == "neutral" else intensities:
                    take = np.repeat(text, rng.integers(1, longest + 1, len(text)))
                    rows.append((speaker, sentence, emotion, intensity, len(take)))
                    phoneme.append(take)
    clips = pd.DataFrame(
        rows, columns=["speaker", "sentence", "emotion", "intensity", "num_frames"]
    )
    phoneme = np.concatenate(phoneme)
    return ProbeCorpus(clips, frame_table(clips, phoneme % 15, phoneme), seed=seed)


def one_hot(labels) -> np.ndarray:
    """(N, K) float32."""
    names, code = np.unique(np.asarray(labels), return_inverse=True)
    return np.eye(len(names), dtype=np.float32)[code]


def leaky(labels, share, seed=0) -> np.ndarray:
    """One-hot code that copies the label with probability `share` and is a random class otherwise.

    Balanced classes: the best accuracy is share + (1 - share) / K, which chance-corrects to `share`.
    """
    rng = np.random.default_rng([seed, 2])
    names, code = np.unique(np.asarray(labels), return_inverse=True)
    copied = np.where(rng.random(len(code)) < share, code, rng.integers(len(names), size=len(code)))
    return np.eye(len(names), dtype=np.float32)[copied]


def noise(rows, dims=16, seed=0) -> np.ndarray:
    """(rows, dims) of standard normal numbers."""
    return np.random.default_rng([seed, 3]).normal(size=(rows, dims)).astype(np.float32)


def rotation(dims, seed=0) -> np.ndarray:
    """(dims, dims) orthogonal."""
    return np.linalg.qr(np.random.default_rng([seed, 4]).normal(size=(dims, dims)))[0]
