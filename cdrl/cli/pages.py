"""The command `cdrl explore`, and what it shares with `cdrl dial`: a run as a page."""

import argparse
from pathlib import Path

from cdrl.cli.options import relative_to_root
from cdrl.core.errors import InputError
from cdrl.core.paths import run_path
from cdrl.report import explorer


def explore(arguments: argparse.Namespace) -> None:
    """Write the explorer of a run as a page.

    Args:
        arguments: of the command.
    """
    out = page_path(arguments, "explorer")
    run = relative_to_root(arguments.run)
    report_page(explorer.write_page(run, out, arguments.points))


def page_path(arguments: argparse.Namespace, name: str) -> Path:
    """Where a page is written: --out, else in the run's folder.

    Args:
        arguments: of the command.
        name: of the page, without its ending.

    Raises:
        InputError: an --out that is no .html file.
    """
    if not arguments.out:
        return run_path(relative_to_root(arguments.run)) / f"{name}.html"

    out = Path(arguments.out)
    if out.suffix != ".html":
        example = out.with_suffix(".html").name
        raise InputError(f"--out {out}: the {name} is an .html file, as in --out {example}")
    return out


def report_page(page: Path) -> None:
    """Print where a page is and its size.

    Args:
        page: the file.
    """
    megabytes = page.stat().st_size / 1e6
    print(f"{page} ({megabytes:.1f} MB): open it in any browser, no network is needed")
