"""Three curves of a speaking mouth: jaw opening, lip width, lip rounding, from facial actions."""

import numpy as np

from cdrl.core.vocabulary import ACTIONS

CURVES = ("jaw opening", "lip width", "lip rounding")
_JAW = ACTIONS.index("jawOpen")
_WIDE = [
    ACTIONS.index(f"mouth{name}{side}")
    for name in ("Stretch", "Smile", "Dimple")
    for side in ("Left", "Right")
]
_ROUND = [ACTIONS.index("mouthPucker"), ACTIONS.index("mouthFunnel")]


def mouth_curves(actions: np.ndarray) -> np.ndarray:
    """Jaw opening, lip width and lip rounding from facial actions.

    jaw opening = jawOpen; lip rounding = mean(mouthPucker, mouthFunnel); lip width = mean of
    mouthStretch, mouthSmile and mouthDimple, left and right, minus lip rounding.

    Args:
        actions: (T, 52) in [0, 1], order `vocabulary.ACTIONS`.

    Returns:
        (T, 3) float64; jaw and rounding in [0, 1], width in [-1, 1]. A face at rest gives 0, 0, 0.
    """
    actions = np.asarray(actions, np.float64)
    jaw = actions[:, _JAW]
    rounding = actions[:, _ROUND].mean(1)
    width = actions[:, _WIDE].mean(1) - rounding
    return np.stack([jaw, width, rounding], axis=1)
