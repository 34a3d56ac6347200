"""A curve that grows while a cell trains: in JupyterLab, VS Code, Colab, and headless."""

from collections.abc import Mapping

from IPython.display import DisplayHandle, display

from cdrl.report.figures import curves
from cdrl.report.interactive import mime_bundle

EVERY = 10  # steps between two pictures


class LiveCurve:
    """Lines over the steps of a training, drawn again every few steps in the same place.

    Args:
        title: of the figure.
        y_title: unit of the values.
        chance: value of the dashed line; several with their texts; or None.
        every: steps between two pictures.

    Attributes:
        values: the values of each line so far.
    """

    def __init__(
        self,
        title: str,
        y_title: str = "loss",
        chance: float | Mapping[str, float] | None = None,
        every: int = EVERY,
    ):
        self.title = title
        self.y_title = y_title
        self.chance = chance
        self.every = every
        self.steps: list[int] = []
        self.values: dict[str, list[float]] = {}
        self._handle: DisplayHandle | None = None

    def add(self, **values: float) -> None:
        """Add the values of one step, by the name of their line.

        Args:
            values: floats, or tensors of shape ().
        """
        self.steps.append(len(self.steps) + 1)
        for name, value in values.items():
            self.values.setdefault(name, []).append(float(value))
        if len(self.steps) == 1 or len(self.steps) % self.every == 0:
            self._draw()

    def finish(self) -> None:
        """Draw all values, with the still picture that pages without scripts show."""
        if self.steps:
            self._draw(finished=True)

    def _draw(self, finished: bool = False) -> None:
        """Draw in place of the picture before."""
        figure = curves(
            self.values, self.chance, title=self.title, y_title=self.y_title, x=self.steps
        )
        # A renderer that opens a window of its own has no bundle, and draws at the end alone.
        bundle = mime_bundle(figure) if finished else dict(figure._repr_mimebundle_())
        if not bundle:
            return
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)
