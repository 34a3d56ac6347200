"""Names that strangers gave: they reach terminals and spreadsheets as texts alone."""

import pandas as pd
import pytest

from cdrl.corpora.check import _printable
from cdrl.corpora.rejects import spreadsheet_safe


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_cell_that_a_spreadsheet_would_compute_has_an_apostrophe(start):
    table = pd.DataFrame({"path": [f"{start}1+1", "a=b"], "frames": [-3, 4]})
    safe = spreadsheet_safe(table)
    assert list(safe["path"]) == [f"'{start}1+1", "a=b"]
    assert list(safe["frames"]) == [-3, 4]


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\rb", "a\nb", "\x9b2J", "\udcff", "\u202eabc"])
def test_what_a_terminal_would_obey_is_escaped(name):
    shown = _printable(name)
    assert shown.isprintable()
    assert "\\" in shown
    assert _printable("Zoë 3") == "Zoë 3"
