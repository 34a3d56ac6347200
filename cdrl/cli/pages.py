"""The commands `cdrl explore` and `cdrl dial`: a run as pages for any browser."""

import argparse
from pathlib import Path

from cdrl.cli.options import relative_to_root
from cdrl.core.errors import InputError
from cdrl.core.paths import run_path
from cdrl.report import dial as dial_report
from cdrl.report import explorer


def explore(arguments: argparse.Namespace) -> None:
    """Write the explorer of a run as a page.

    Args:
        arguments: of the command.
    """
    out = _page_path(arguments, "explorer")
    run = relative_to_root(arguments.run)
    _report_page(explorer.write_page(run, out, arguments.points))


def dial(arguments: argparse.Namespace) -> None:
    """Write the dial of a run as a page.

    Args:
        arguments: of the command.
    """
    out = _page_path(arguments, "dial")
    session = dial_report.Session(
        relative_to_root(arguments.run),
        arguments.clip,
        arguments.reference,
        arguments.generator,
        isolated=True,
    )
    page = dial_report.write_page(
        session, out, texts=arguments.text, references=arguments.reference
    )
    _report_page(page)


def _page_path(arguments: argparse.Namespace, name: str) -> Path:
    """Where a page is written: --out, else in the run's folder."""
    if not arguments.out:
        return run_path(relative_to_root(arguments.run)) / f"{name}.html"

    out = Path(arguments.out)
    if out.suffix != ".html":
        example = out.with_suffix(".html").name
        raise InputError(f"--out {out}: the {name} is an .html file, as in --out {example}")
    return out


def _report_page(page: Path) -> None:
    """Print where a page is and its size."""
    megabytes = page.stat().st_size / 1e6
    print(f"{page} ({megabytes:.1f} MB): open it in any browser, no network is needed")
