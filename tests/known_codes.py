"""Codes whose score is known beforehand, on a small crossed corpus of labels without pictures."""

import numpy as np
import pandas as pd

from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.evaluation.leakage import ProbeCorpus
from cdrl.evaluation.probe_splits import frame_table


def labelled_corpus(
    speakers=8, sentences=6, intensities=(2,), seed=0, phones=6, longest=3
) -> ProbeCorpus:
    """Speakers x sentences x seven emotions (x intensities), each take with its own timing.

    Args:
        speakers: how many.
        sentences: how many.
        intensities: of every emotion but neutral, which has one.
        seed: of texts and timing.
        phones: of a sentence, silence before and after it not counted.
        longest: frames that a phone has at most.
    """
    rng = np.random.default_rng([seed, 1])
    texts = []
    for _ in range(sentences):
        spoken = rng.permutation(np.arange(1, phones + 2))[:phones]
        texts.append(np.r_[0, spoken, 0])

    rows = []
    takes = []
    for speaker in range(speakers):
        for sentence, text in enumerate(texts):
            for emotion in SCORED_EMOTIONS:
                for intensity in (1,) if emotion == "neutral" else intensities:
                    take = np.repeat(text, rng.integers(1, longest + 1, len(text)))
                    rows.append((speaker, sentence, emotion, intensity, len(take)))
                    takes.append(take)

    columns = ["speaker", "sentence", "emotion", "intensity", "num_frames"]
    clips = pd.DataFrame(rows, columns=columns)
    phoneme = np.concatenate(takes)
    return ProbeCorpus(clips, frame_table(clips, phoneme % 15, phoneme), seed=seed)


def one_hot(labels) -> np.ndarray:
    """(N, K) float32."""
    names, code = np.unique(np.asarray(labels), return_inverse=True)
    return np.eye(len(names), dtype=np.float32)[code]


def leaky(labels, share, seed=0) -> np.ndarray:
    """One-hot code that copies the label with probability `share` and is a random class otherwise.

    Balanced classes: the best accuracy is share + (1 - share) / K, which corrected for chance is
    `share`.
    """
    rng = np.random.default_rng([seed, 2])
    names, code = np.unique(np.asarray(labels), return_inverse=True)
    is_copied = rng.random(len(code)) < share
    random_class = rng.integers(len(names), size=len(code))
    classes = np.where(is_copied, code, random_class)
    return np.eye(len(names), dtype=np.float32)[classes]


def noise(rows, dims=16, seed=0) -> np.ndarray:
    """(rows, dims) of standard normal numbers."""
    rng = np.random.default_rng([seed, 3])
    return rng.normal(size=(rows, dims)).astype(np.float32)


def rotation(dims, seed=0) -> np.ndarray:
    """(dims, dims) orthogonal."""
    rng = np.random.default_rng([seed, 4])
    orthogonal, _ = np.linalg.qr(rng.normal(size=(dims, dims)))
    return orthogonal
