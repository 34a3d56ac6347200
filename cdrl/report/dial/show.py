"""The dial as the last line of a notebook's cell: the widget, or HTML that needs no kernel."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cdrl.report.dial.choices import TEXTS
from cdrl.report.dial.page import static_dial
from cdrl.report.dial.session import Session
from cdrl.report.ready import is_interactive


def dial(
    run: Session | Path | str,
    clip: Path | str | None = None,
    texts: Sequence[str] = TEXTS,
    references: Sequence[Path | str] = (),
    generator: Path | str | None = None,
) -> Any:
    """The dial of a run, as the last line of a cell.

    Args:
        run: folder of a run with a complete notebook 05, or a `Session`.
        clip: a video file to edit instead of the run's clips.
        texts: descriptions that are offered; the widget takes any others too.
        references: video files to take an emotion from, beside the run's clips.
        generator: weights or a run in place of the run's own, as in "calibrated".

    Returns:
        A widget; `static_dial` where no browser can be in front of the kernel or anywidget is not
        installed (one line says so).
    """
    session = run if isinstance(run, Session) else Session(run, clip, references, generator)
    if not is_interactive():
        return static_dial(session, texts)

    try:
        # Only the widget needs anywidget; pages work where it is not installed.
        from cdrl.report.dial.widget import Dial
    except ImportError as error:
        print(
            f"dial: {error}; pip install anywidget. Fewer clips without a kernel instead, cdrl "
            "dial RUN writes a page."
        )
        return static_dial(session, texts)
    return Dial(session, texts)
