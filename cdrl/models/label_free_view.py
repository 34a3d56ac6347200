"""What of facial actions a backbone shows that never saw an action or an emotion label."""

import torch
from torch import nn

from cdrl.core.vocabulary import ACTIONS
from cdrl.models.action_networks import ActionNetwork
from cdrl.models.layers import silu_layers

CHANNELS = len(ACTIONS)  # as many as actions, so that the same discriminator reads either


class LabelFreeView(ActionNetwork):
    """Facial actions of a frame -> whitened components of a backbone's features of its pixels.

    A component that the actions do not tell stays near 0, and the noise of a discriminator hides
    it.

    Args:
        mean: (52,) of the training people's tracked actions; None: 0.
        std: (52,) of the same; None: 1.
        width: of the hidden layers.
    """

    def __init__(
        self, mean: torch.Tensor | None = None, std: torch.Tensor | None = None, width: int = 128
    ):
        super().__init__(mean, std)
        self.net = silu_layers(len(ACTIONS), width, width)
        self.net.append(nn.Linear(width, CHANNELS))

    def forward(self, coefficients: torch.Tensor) -> torch.Tensor:
        """(..., 52) actions -> (..., 52) components."""
        return self.net(self.standardise(coefficients))
