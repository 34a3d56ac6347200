"""The networks that score and never supervise: two emotion judges, a tracker, an identity network.

Their torchvision architectures are shared with no training network of the kit, their people and
sentences are a third set (`judge` split), their seeds are others. They are of two families:
judge_a, the tracker (wider) and the identity network are ShuffleNet-v2, judge_b is MobileNet-v3. So
judge_a and the tracker may share errors. `cdrl.evaluation.judge_training` trains them.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from cdrl.core.checkpoint import kit_weights_path, load_card, load_weights
from cdrl.core.vocabulary import ACTIONS, SCORED_EMOTIONS

SIZE = 64  # the demo's generator writes 64 px crops; every video is judged at this size
PIXEL_MEAN = 0.45
PIXEL_STD = 0.25
# name -> torchvision architecture, training seed
NETWORKS = {
    "judge_a": ("shufflenet_v2_x0_5", 101),
    "judge_b": ("mobilenet_v3_small", 202),
    "tracker": ("shufflenet_v2_x1_0", 303),
    "identity": ("shufflenet_v2_x0_5", 404),
}
_BATCH_SIZE = 128


class FrameNet(nn.Module):
    """A torchvision classifier body with `outputs` numbers at its end.

    Args:
        architecture: name in `torchvision.models`.
        outputs: how many numbers.

    Example:
        FrameNet("shufflenet_v2_x0_5", 7)(torch.zeros(2, 3, 64, 64)).shape == (2, 7)
    """

    def __init__(self, architecture: str, outputs: int) -> None:
        import torchvision  # seconds, and few paths need it

        super().__init__()
        build = getattr(torchvision.models, architecture)
        self.body = build(weights=None, num_classes=outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) RGB in [0, 1], any size -> (B, outputs)."""
        if images.shape[-2:] != (SIZE, SIZE):
            images = F.interpolate(
                images, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False
            )
        return self.body((images - PIXEL_MEAN) / PIXEL_STD)

    def last(self) -> nn.Linear:
        """The layer that gives the outputs."""
        layers = [layer for layer in self.body.modules() if isinstance(layer, nn.Linear)]
        return layers[-1]


class Judges:
    """The evaluation networks, loaded, each applied to the frames of one clip.

    Args:
        names: which to load.
    """

    def __init__(self, names: tuple[str, ...] = tuple(NETWORKS)) -> None:
        self.cards = {}
        self.networks = {}
        for name in names:
            weights = kit_weights_path(name)
            card = load_card(weights)
            self.cards[name] = card
            self.networks[name] = load_weights(weights, FrameNet(**card["model"]))

    @torch.no_grad()
    def _run(self, name: str, frames: torch.Tensor) -> torch.Tensor:
        """(T, 3, H, W) -> (T, outputs) of one network."""
        network = self.networks[name]
        outputs = [network(part) for part in frames.split(_BATCH_SIZE)]
        return torch.cat(outputs)

    def emotion(self, name: str, frames: torch.Tensor) -> np.ndarray:
        """Emotion probabilities of one clip, the mean over frames.

        Args:
            name: of the judge.
            frames: (T, 3, H, W) RGB in [0, 1].

        Returns:
            (7,) over `SCORED_EMOTIONS`; uniform is 1/7.
        """
        logits = self._run(name, frames)[:, : len(SCORED_EMOTIONS)]
        return logits.softmax(1).mean(0).numpy()

    def track(self, frames: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Track facial actions and landmarks.

        Args:
            frames: (T, 3, H, W) RGB in [0, 1].

        Returns:
            Facial actions (T, 52), clipped to [0, 1], and landmarks (T, L, 2), relative to the
            crop.
        """
        card = self.cards["tracker"]
        mean = np.array(card["mean"])
        std = np.array(card["deviation"])

        standardised = self._run("tracker", frames).numpy()
        outputs = standardised * std + mean

        actions = outputs[:, : len(ACTIONS)].clip(0, 1)
        points = outputs[:, len(ACTIONS) :]
        landmarks = points.reshape(len(outputs), -1, 2)

        return actions.astype(np.float32), landmarks.astype(np.float32)

    @torch.no_grad()
    def features(self, name: str, frames: torch.Tensor) -> np.ndarray:
        """The input of a network's last layer: (T, 3, H, W) -> (T, D)."""
        inputs = []

        def keep_input(layer: nn.Module, arguments: tuple[torch.Tensor, ...]) -> None:
            inputs.append(arguments[0])

        hook = self.networks[name].last().register_forward_pre_hook(keep_input)

        try:
            self._run(name, frames)
        finally:
            hook.remove()

        return torch.cat(inputs).numpy()

    def identity(self, frames: torch.Tensor) -> np.ndarray:
        """(T, 3, H, W) -> (T, 64), unit norm; another frame of the same person is near 1."""
        return F.normalize(self._run("identity", frames), dim=1).numpy()
