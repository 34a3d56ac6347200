"""A stopping rule: a training is done again with twice the steps until its loss is flat.

The learning rate falls to zero over the steps, so a run that was stopped early is no run of fewer
steps; each length is a training of its own.
"""

from collections.abc import Callable
from typing import TypeVar

Trained = TypeVar("Trained")

LEAST_FALL = 0.02  # of the loss, relative; what falls by less is flat
MOST_DOUBLINGS = 6  # 64 times the first steps


def train_until_flat(
    train: Callable[[int], tuple[Trained, float]],
    steps: int,
    least_fall: float = LEAST_FALL,
    most_doublings: int = MOST_DOUBLINGS,
) -> tuple[Trained, dict[str, float]]:
    """Double the steps until the last loss falls by less than two percent.

    Args:
        train: steps -> what was trained, and the mean of its loss over the last steps.
        steps: of the first training.
        least_fall: relative fall of the loss below which it is flat.
        most_doublings: trainings after the first one, at most.

    Returns:
        What the last training made; and its `steps`, its loss, `flat` (1, or 0 where the most
        doublings came first).

    >>> train_until_flat(lambda steps: (steps, 1 + 1 / steps), 8)[1]["steps"]
    64
    """
    trained, loss = train(steps)
    for _ in range(most_doublings):
        steps *= 2
        trained, longer = train(steps)
        is_flat = loss - longer < least_fall * abs(loss)
        loss = longer
        if is_flat:
            return trained, {"steps": steps, "last_loss": loss, "flat": 1}

    return trained, {"steps": steps, "last_loss": loss, "flat": 0}
