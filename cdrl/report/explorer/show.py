"""The explorer as the last line of a notebook's cell: the widget, or plain figures."""

from pathlib import Path
from typing import Any

from cdrl.report.explorer.atlas import Atlas, read_atlas
from cdrl.report.explorer.static import static_figure
from cdrl.report.ready import is_interactive


def explore(run: Atlas | Path | str, points: int = 0) -> Any:
    """The explorer of a run, as the last line of a cell.

    Args:
        run: folder of a run, or an `Atlas`.
        points: as `read_atlas` takes it.

    Returns:
        A widget with two linked maps; the plain figure where no browser can be in front of the
        kernel or anywidget is not installed (one line says so).
    """
    atlas = run if isinstance(run, Atlas) else read_atlas(run, points)
    if not is_interactive():
        return static_figure(atlas)

    try:
        # Only the widget needs anywidget; figures and pages work where it is not installed.
        from cdrl.report.explorer.widget import Explorer
    except ImportError as error:
        print(
            f"explorer: {error}; pip install anywidget. A plain figure instead, cdrl explore RUN "
            "writes a page."
        )
        return static_figure(atlas)
    return Explorer(atlas)
