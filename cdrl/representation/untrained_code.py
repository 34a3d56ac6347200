"""A content code that nothing was trained for: an opponent of CCRL's.

Nine frames of mouth features without the mean of their clip, in twelve whitened principal
components of the training clips.
"""

from dataclasses import dataclass

import numpy as np

from cdrl.priors.features import Features

WINDOW = 9  # frames, as CCRL sees
COMPONENTS = 12  # as CCRL's embedding has
FIT_FRAMES = 20_000  # windows at most that fit the components
EMBED_BATCH = 8192  # windows that are embedded at once


@dataclass(frozen=True)
class UntrainedCode:
    """Whitened components of windows of mouth features.

    Attributes:
        mean: (window x M,) of the windows that fitted them.
        directions: (window x M, D), of unit variance over these windows.
        window: frames.
    """

    mean: np.ndarray
    directions: np.ndarray
    window: int = WINDOW

    def embed(self, features: Features) -> np.ndarray:
        """Embed every frame of some clips.

        Args:
            features: of the clips.

        Returns:
            (N, D) float32, unit norm.
        """
        centred = without_clip_means(features)
        rows = np.arange(len(centred))
        codes = []
        for part in np.array_split(rows, max(1, len(rows) // EMBED_BATCH)):
            windows = _windows(features, centred, part, self.window)
            codes.append((windows - self.mean) @ self.directions)

        code = np.concatenate(codes)
        length = np.linalg.norm(code, axis=1, keepdims=True)
        return (code / np.maximum(length, 1e-8)).astype(np.float32)


def fit_untrained_code(
    features: Features, components: int = COMPONENTS, window: int = WINDOW, seed: int = 0
) -> UntrainedCode:
    """Fit the components of training clips; no label and no sound is used.

    Args:
        features: of the training clips.
        components: D.
        window: frames, odd.
        seed: of the windows that are drawn.
    """
    centred = without_clip_means(features)
    random = np.random.default_rng(seed)
    num_rows = min(FIT_FRAMES, len(centred))
    rows = np.sort(random.choice(len(centred), num_rows, replace=False))

    windows = _windows(features, centred, rows, window)
    mean = windows.mean(0)
    covariance = np.cov(windows - mean, rowvar=False)
    variances, directions = np.linalg.eigh(covariance)

    largest = np.argsort(variances)[::-1][:components]
    scale = np.sqrt(np.maximum(variances[largest], 1e-12))
    return UntrainedCode(mean, directions[:, largest] / scale, window)


def without_clip_means(features: Features) -> np.ndarray:
    """Mouth features of all frames less the mean of their clip, (N, M) float32.

    Args:
        features: of the clips.
    """
    mouth = np.asarray(features.mouth[:], np.float32)
    starts = features.store.clips["start"].to_numpy()
    lengths = features.store.clips["num_frames"].to_numpy()
    means = np.add.reduceat(mouth, starts) / lengths[:, None]
    return mouth - np.repeat(means, lengths, 0)


def _windows(features: Features, centred: np.ndarray, rows: np.ndarray, window: int) -> np.ndarray:
    """(n, window x M) windows around some rows (n,); at the ends of a clip its frames repeat."""
    clips = features.store.clips
    starts = clips["start"].to_numpy()
    ends = starts + clips["num_frames"].to_numpy() - 1
    clip = np.searchsorted(starts, rows, side="right") - 1

    index = rows[:, None] + np.arange(window) - window // 2
    index = np.clip(index, starts[clip][:, None], ends[clip][:, None])
    return centred[index].reshape(len(rows), -1)
