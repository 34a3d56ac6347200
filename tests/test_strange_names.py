"""Names that strangers gave: they reach terminals and spreadsheets as texts alone."""

import ast
import pickle

import pandas as pd
import pytest

from cdrl.core.errors import InputError, printable
from cdrl.core.paths import PACKAGE
from cdrl.core.tables import refuse_other_encoding, spreadsheet_safe, write_csv


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n"])
def test_a_cell_that_a_spreadsheet_would_compute_has_an_apostrophe(start):
    table = pd.DataFrame({"path": [f"{start}1+1", "a=b"], "frames": [-3, 4]})
    safe = spreadsheet_safe(table)
    assert list(safe["path"]) == [f"'{start}1+1", "a=b"]
    assert list(safe["frames"]) == [-3, 4]


@pytest.mark.parametrize("number", ["-0.5", "+3", "-12"])
def test_numbers_stay_as_they_are(number):
    assert list(spreadsheet_safe(pd.DataFrame({"a": [number]}))["a"]) == [number]


def test_a_written_table_has_safe_cells_and_heads(tmp_path):
    table = pd.DataFrame({"=x": ["@sum", "café"]})
    write_csv(tmp_path / "t.csv", table)
    assert (tmp_path / "t.csv").read_bytes() == "'=x\n'@sum\ncafé\n".encode()


def test_every_csv_of_the_kit_is_written_by_one_function():
    others = []
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = ("to_csv", "savetxt", "writerow", "writerows")
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr in names and node.args and path.name != "tables.py":
                others.append(f"{path}:{node.lineno}")
    assert others == []


def test_a_name_that_no_table_can_hold_is_refused_before_any_work():
    with pytest.raises(InputError, match="ROOT .*udce9"):
        refuse_other_encoding("corpus/caf\udce9", "ROOT")
    refuse_other_encoding("corpus/café", "ROOT")


def test_an_error_is_one_line_whatever_name_is_in_it():
    error = InputError("a\nb\x1b[2J: no such file")
    assert str(error) == "a\\nb\\x1b[2J: no such file"
    again = pickle.loads(pickle.dumps(InputError("one", "two")))
    assert str(again) == "one\ntwo"


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\rb", "a\nb", "\x9b2J", "\udcff", "\u202eabc"])
def test_what_a_terminal_would_obey_is_escaped(name):
    shown = printable(name)
    assert shown.isprintable()
    assert "\\" in shown
    assert printable("Zoë 3") == "Zoë 3"
