"""The command `cdrl dial`: clips beside their edits as a page for any browser."""

import argparse

from cdrl.cli.options import relative_to_root
from cdrl.cli.pages import page_path, report_page
from cdrl.report import dial as dial_report

WORKERS = 2  # processes that edit


def dial(arguments: argparse.Namespace) -> None:
    """Write the dial of a run as a page.

    Args:
        arguments: of the command.
    """
    out = page_path(arguments, "dial")
    session = dial_report.Session(
        relative_to_root(arguments.run),
        arguments.clip,
        arguments.reference,
        arguments.generator,
        isolated=True,
    )
    page = dial_report.write_page(
        session, out, texts=arguments.text, references=arguments.reference, workers=WORKERS
    )
    report_page(page)
