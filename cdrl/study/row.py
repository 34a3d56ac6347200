"""One row of the study's tables, and one job of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        description: one line for the table.
        change: settings of its stage that differ from the method's.
        backbone: `actions`, or `identity` (trained on speaker labels, never on a facial action).
        takes_audio: whether the embedding takes audio.
        control: what the training gets instead of its data: `constant`, `noise` or `shuffled`.
        kind: `trained`, `own`, `released`, `untrained`, `raw` or `truth`; of an opponent also
            `window`, `code`, `classifier` or `words`, see `cdrl.study.opponents` and `parts`.
        choosing: whether it is a question of design, scored on the choosing set alone.
        teacher: of an edit, who guides it, a name in `cdrl.study.teachers.TEACHERS`.
        family: of an edit, the variant that it is one setting of; its frontier has all of them.
        label_free: of an edit, whether the discriminator sees what backbones show that were
            trained on speaker labels, and no tracked action.
        duration: of an edit, how many times the steps of the others it is trained.
        until_flat: whether what is trained is trained until its loss is flat.
        pixels: what is done to the images of training and scoring, see `cdrl.study.parts`.
        labels: share of the training clips that keep their emotion label.
        left_out: emotion without training clips.
    """

    description: str
    change: Mapping[str, Any] = field(default_factory=dict)
    backbone: str = "actions"
    takes_audio: bool = False
    control: str = ""
    kind: str = "trained"
    choosing: bool = False
    teacher: str = ""
    family: str = ""
    label_free: bool = False
    duration: int = 1
    until_flat: bool = False
    pixels: str = ""
    labels: float = 1.0
    left_out: str = ""

    @property
    def seeded(self) -> bool:
        """Whether another seed gives another result."""
        return self.kind not in ("raw", "truth", "window", "words")

    @property
    def core(self) -> bool:
        """Whether the row is the method, the released one or a control: done before ablations."""
        return not (self.change or self.choosing or self.backbone != "actions")

    @property
    def blank(self) -> bool:
        """Whether the encoder is trained and tested on images without information."""
        return self.control in ("constant", "noise")


class Job(NamedTuple):
    """One row with one seed.

    Attributes:
        kind: the table, `content`, `emotion` or `edit`.
        row: name of the row in its table.
        seed: of the training.
    """

    kind: str
    row: str
    seed: int
