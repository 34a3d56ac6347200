"""A trial of the facial-action editor on one clip, measured beside the default and not used by it.

The tracker reads the resting face of real people wrong: eyes are read wide that are not. So the
upper face is taken relative to the clip's own median. The change of the upper face is made larger,
and what opens the mouth is scaled by how far the source's lips are apart, so that lips that close
stay closed.
"""

from functools import cache

import numpy as np
import torch

from cdrl.core.vocabulary import ACTIONS
from cdrl.editors.actions import ActionEditor
from cdrl.studio.acting import act
from cdrl.studio.corpus import smoke_specs

GAIN = 2.5  # of the change of the upper face
SHUT = 0.01  # gap of the lips, in outer eye distances, at which nothing opens them
OPEN = 0.06  # gap from which on they are opened as asked
_UPPER_PARTS = ("eyeBlink", "eyeSquint", "eyeWide", "brow", "cheek", "nose")
_OPENING_PARTS = ("jawOpen", "mouthUpperUp", "mouthLowerDown", "mouthFunnel", "mouthStretch")
UPPER = [index for index, name in enumerate(ACTIONS) if name.startswith(_UPPER_PARTS)]
OPENING = [index for index, name in enumerate(ACTIONS) if name.startswith(_OPENING_PARTS)]


@cache
def neutral_actions() -> torch.Tensor:
    """(52,) mean facial actions of neutral clips of the studio."""
    means = []
    for spec in smoke_specs():
        if spec.emotion == "neutral":
            means.append(act(spec).coefficients.mean(0))

    return torch.from_numpy(np.mean(means, axis=0))


class RestingActionEditor(ActionEditor):
    """The facial-action editor for one clip, from that person's own resting face.

    Args:
        editor: the default.
        frames: (T, 3, H, W) RGB in [0, 1], all crops of the clip.
        gap: (T,) of the source's inner lips, in outer eye distances; None opens lips as asked.
        gain: of the change of the upper face.
    """

    def __init__(
        self,
        editor: ActionEditor,
        frames: torch.Tensor,
        gap: np.ndarray | None = None,
        gain: float = GAIN,
    ):
        super().__init__(editor.manipulator, editor.renderer, editor.tracker, editor.card)
        self.gain = gain
        self.opening: torch.Tensor | None = None
        if gap is not None:
            share = np.clip((gap - SHUT) / (OPEN - SHUT), 0, 1)
            self.opening = torch.from_numpy(share.astype(np.float32))

        tracked = editor.actions(frames[None])
        self.rest = tracked[0].median(0).values

    @torch.no_grad()
    def actions(self, frames: torch.Tensor, step: float = 1.0) -> torch.Tensor:
        """Tracked, the upper face less the clip's median plus the studio's neutral mean.

        Args:
            frames: (B, T, 3, H, W) RGB in [0, 1].
            step: as of the default editor.

        Returns:
            (B, T, 52) in [0, 1].
        """
        tracked = super().actions(frames, step)
        shifted = tracked - self.rest + neutral_actions()

        calm = tracked.clone()
        calm[..., UPPER] = shifted[..., UPPER].clamp(0, 1)
        return calm

    def change(
        self,
        actions: torch.Tensor,
        weights: torch.Tensor,
        intensity: torch.Tensor,
        step: float = 1.0,
    ) -> torch.Tensor:
        """What the edit adds to the actions: more of the upper face, less on lips that close.

        Args:
            actions: (B, T, 52) in [0, 1]; all frames of the clip.
            weights: (B, 8) mixtures of emotions.
            intensity: (B, T), 0 to 1.5.
            step: as of the default editor.
        """
        change = super().change(actions, weights, intensity, step).clone()
        change[..., UPPER] *= self.gain
        if self.opening is not None:
            change[..., OPENING] *= self.opening[:, None]

        return (actions + change).clamp(0, 1) - actions
