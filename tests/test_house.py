"""Rules that a machine can check: one way through the folders, thin notebooks, docstrings."""

import ast
import re
import statistics

import nbformat
import pytest

from cdrl.core.paths import repository_root

ROOT = repository_root()
# A module imports only from its own entry and those above it. Entries of one row never import
# each other.
LAYERS = (
    ("core",),
    ("media",),
    ("corpora",),
    ("studio",),
    ("priors",),
    ("models", "losses"),
    ("training",),
    ("representation",),
    ("baselines",),
    ("editors",),
    ("editing",),
    ("evaluation",),
    ("stages",),
    ("study",),
    ("recipes",),
    ("report",),
    ("api",),
    ("cli",),
)
LEVEL = {name: level for level, row in enumerate(LAYERS) for name in row}
MODULES = sorted((ROOT / "cdrl").rglob("*.py"))
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def imported_parts(source, package):
    """Folders of cdrl that a source imports: `from cdrl.media import video` -> media."""
    for node in ast.walk(ast.parse(source)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            base = (
                package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            )
            origin = ".".join([*base, *filter(None, [node.module])])
            names = [f"{origin}.{alias.name}" for alias in node.names]
        yield from (name.split(".")[1] for name in names if name.startswith("cdrl."))
        yield from ("notebooks" for name in names if name.split(".")[0] in ("notebooks", "tests"))


def wrong_imports(part, source, package="cdrl"):
    """What a module of a part must not import."""
    allowed = {name for name in LEVEL if LEVEL[name] < LEVEL[part]} | {part}
    return sorted({name for name in imported_parts(source, package) if name not in allowed})


def part_of(path):
    return path.relative_to(ROOT / "cdrl").parts[0].removesuffix(".py")


def test_data_flows_one_way():
    wrong = {}
    for path in MODULES:
        if path.parent == ROOT / "cdrl" and path.stem == "__init__":
            continue
        assert part_of(path) in LEVEL, f"{path.name}: give it a place in LAYERS"
        package = ".".join(path.relative_to(ROOT).parent.parts)
        found = wrong_imports(part_of(path), path.read_text(), package)
        if found:
            wrong[str(path.relative_to(ROOT))] = found
    assert not wrong


@pytest.mark.parametrize(
    "part, package, source, found",
    [
        ("models", "cdrl.models", "from cdrl.losses.contrastive import info_nce", ["losses"]),
        ("losses", "cdrl.losses", "import cdrl.models.content", ["models"]),
        ("media", "cdrl.media", "def late():\n    from cdrl import training", ["training"]),
        ("studio", "cdrl.studio", "from ..report import page", ["report"]),
        (
            "studio",
            "cdrl.studio",
            "from ..media import Clip\nfrom cdrl.core.vocabulary import EMOTIONS",
            [],
        ),
        ("evaluation", "cdrl.evaluation", "import notebooks.first", ["notebooks"]),
        ("cli", "cdrl", "from cdrl.cli.doctor import examine\nimport cdrl.editing.pipeline", []),
    ],
)
def test_the_layering_test_bites(part, package, source, found):
    assert wrong_imports(part, source, package) == found


def imported_modules(path):
    """The modules of the kit that a module imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def circles(graph):
    """Modules from which a walk along imports comes back to where it began."""
    graph = {name: set(targets) for name, targets in graph.items()}
    while True:
        ends = [name for name, targets in graph.items() if not targets & graph.keys()]
        if not ends:
            return sorted(graph)
        for name in ends:
            del graph[name]


def test_no_module_imports_itself_through_others():
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in MODULES}
    files = {name: path for name, path in files.items() if not name.endswith("__init__")}
    graph = {name: imported_modules(path) & files.keys() for name, path in files.items()}
    assert circles(graph) == []


def test_the_circle_test_bites():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c", "d"]
    assert circles({"a": {"b"}, "b": {"c"}, "c": set()}) == []


def statement_sizes(source):
    """AST nodes a line and AST nodes a statement of each function of five lines and more."""
    lines, statements = [], []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        body = node.body[1:] if ast.get_docstring(node) else node.body
        if not body or node.end_lineno - body[0].lineno + 1 < 5:
            continue
        parts = [part for statement in body for part in ast.walk(statement)]
        lines.append(len(parts) / (node.end_lineno - body[0].lineno + 1))
        statements.append(len(parts) / sum(isinstance(part, ast.stmt) for part in parts))
    return lines, statements


def test_code_is_as_light_as_the_field_s():
    """Model codebases have 7 to 11 nodes a line and 11 to 14 a statement (medians)."""
    lines, statements = [], []
    for path in MODULES:
        for sizes, found in zip(
            (lines, statements), statement_sizes(path.read_text()), strict=True
        ):
            sizes += found
    assert statistics.median(lines) <= 10
    assert statistics.median(statements) <= 14
    assert sorted(statements)[int(0.9 * (len(statements) - 1))] <= 21


def public_functions(tree):
    """Functions and classes of a module, or methods of a class, that others may call."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in tree.body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield node


def undocumented(source):
    return [
        node.name for node in public_functions(ast.parse(source)) if not ast.get_docstring(node)
    ]


# A sentence begins with a capital, a number, code, a shape or a formula, and ends with its line.
SENTENCE = re.compile(r"""([A-Z0-9`(\["{]|[a-z]+\().*[.:?]$""")
ARRAY = re.compile(r"\b(ndarray|Tensor|ArrayLike)\b")
# (N,), (B, T, D), (..., 2), (2 H, W, 3), (C + 1,): at least one comma, else letters, numbers and
# arithmetic.
TOKEN = r"(?:\.\.\.|[\w.]+(?: ?[*+/-]? ?\w+)?)"
SHAPE = re.compile(rf"\({TOKEN}(?:,|(?:, ?{TOKEN})+,?)\)")


def badly_documented(source):
    """Functions, classes and methods whose docstring is no sentence or lacks the shape of an array.

    The class describes a method without a docstring, and `forward`.
    """
    found = []
    for node in public_functions(ast.parse(source)):
        members = public_functions(node) if isinstance(node, ast.ClassDef) else ()
        for each in [node, *(member for member in members if member.name != "forward")]:
            text = ast.get_docstring(each) or ""
            if text and not SENTENCE.match(text.splitlines()[0]):
                found.append(f"{each.name}: its first line is no sentence")
            arguments = (
                each.args.args + each.args.kwonlyargs if not isinstance(each, ast.ClassDef) else []
            )
            kinds = [
                ast.unparse(argument.annotation) for argument in arguments if argument.annotation
            ]
            if text and any(map(ARRAY.search, kinds)) and not SHAPE.search(text):
                found.append(f"{each.name}: which shape has its array?")
    return found


def test_every_module_and_public_function_has_a_docstring():
    missing = {}
    for path in MODULES:
        source = path.read_text()
        names = undocumented(source)
        if source.strip() and not ast.get_docstring(ast.parse(source)):
            names.append("the module")
        if names:
            missing[str(path.relative_to(ROOT))] = names
    assert not missing
    assert undocumented("def a():\n    pass\ndef _b():\n    pass\nclass C:\n    '''c'''") == ["a"]


def test_docstrings_begin_with_a_sentence_and_tell_the_shapes_of_arrays():
    found = {str(path.relative_to(ROOT)): badly_documented(path.read_text()) for path in MODULES}
    found = {f"{name}: {fault}" for name, faults in found.items() for fault in faults}
    assert found <= {"cdrl/models/image_editor.py: field_gain: which shape has its array?"}, (
        "the one that is known stays alone"
    )


@pytest.mark.parametrize(
    "text, found",
    [
        ("Rows of (N, D).", []),
        ("(N,) rows.", []),
        ("cos(x, y) of (B, T) rows.", []),
        ("Rows (all of them).", ["f: which shape has its array?"]),
        ("rows of (N, D).", ["f: its first line is no sentence"]),
        ("Rows of (N, D), and\n    so on.", ["f: its first line is no sentence"]),
    ],
)
def test_the_docstring_test_bites(text, found):
    source = f"def f(x: np.ndarray | None):\n    '''{text}'''\n"
    assert badly_documented(source) == found
    assert (
        badly_documented(
            "class A:\n    '''Of (N, D).'''\n"
            + "    "
            + source.replace("\n    ", "\n        ").rstrip()
            + "\n"
        )
        == found
    )


def test_no_drawer_for_leftovers():
    assert not [path for path in MODULES if path.stem in ("utils", "helpers", "common", "misc")]


def test_nothing_is_pickled():
    banned = re.compile(
        r"\bimport pickle|pickle\.load|allow_pickle=True|joblib\.(dump|load)"
        r"|torch\.load\((?![^)]*weights_only=True)"
    )
    assert not [path.name for path in MODULES if banned.search(path.read_text())]


LONGEST_CELL = 15
LONGEST_CELL_OF_A_METHOD = 40  # these notebooks build the method in view
METHOD_NOTEBOOKS = ("02_train_ccrl", "03_train_cerl", "05_generate_spfem", "07_your_own_loss")


def faults(notebook, shows_method=False):
    """What the house does not want in a notebook."""
    longest = LONGEST_CELL_OF_A_METHOD if shows_method else LONGEST_CELL
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", ())]
    found = []
    if len(tagged) != 1:
        found.append(f"{len(tagged)} cells tagged parameters")
    for cell in tagged:
        if not all(isinstance(node, ast.AnnAssign) for node in ast.parse(cell.source).body):
            found.append("a parameter without an annotation")
    if not notebook.cells or not notebook.cells[0].source.startswith("# "):
        found.append("no title")
    for position, cell in enumerate(code):
        if cell.outputs or cell.execution_count:
            found.append(f"code cell {position} has outputs")
        if len(cell.source.splitlines()) > longest:
            found.append(f"code cell {position} has {len(cell.source.splitlines())} lines")
        tree = ast.parse(
            "\n".join(line for line in cell.source.splitlines() if not line.startswith("%"))
        )
        kinds = (ast.FunctionDef, ast.ClassDef)
        if not shows_method and any(isinstance(node, kinds) for node in ast.walk(tree)):
            found.append(f"code cell {position} defines a function or a class")
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_thin(path):
    notebook = nbformat.read(path, as_version=4)
    assert not faults(notebook, shows_method=path.stem in METHOD_NOTEBOOKS)


def test_there_are_nine_notebooks_in_reading_order():
    assert [path.stem for path in NOTEBOOKS] == [
        "00_start_here",
        "01_prior_extraction",
        "02_train_ccrl",
        "03_train_cerl",
        "04_probe_disentanglement",
        "05_generate_spfem",
        "06_evaluate",
        "07_your_own_loss",
        "08_edit_your_video",
    ]


def attributes_used(sources, module):
    """Names that code takes from a module: `figures.curves(...)` -> curves."""
    for source in sources:
        for node in ast.walk(ast.parse(source)):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == module
            ):
                yield node.attr


@pytest.mark.parametrize("module", ["report/figures", "stages"])
def test_notebooks_call_only_what_exists_and_every_figure_is_used(module):
    place = ROOT / "cdrl" / module
    body = [
        node
        for path in [place.with_suffix(".py"), *place.glob("*.py")]
        if path.exists()
        for node in ast.parse(path.read_text()).body
    ]
    defined = {node.name for node in body if isinstance(node, ast.FunctionDef)}
    notebooks = [nbformat.read(path, as_version=4) for path in NOTEBOOKS]
    sources = [
        cell.source for notebook in notebooks for cell in notebook.cells if cell.cell_type == "code"
    ]
    used = set(attributes_used(sources, module.rpartition("/")[2]))
    assert used <= defined
    if module == "report/figures":
        unused = {name for name in defined - used if not name.startswith("_")}
        assert unused <= {"jpeg_uri"}, "delete what no notebook calls"


def test_the_notebook_test_bites():
    def notebook(*sources, tag=True, first="# Title"):
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        cells[0].metadata["tags"] = ["parameters"] if tag else []
        return nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(first), *cells])

    good = 'run: str = "a"'
    assert faults(notebook(good, "x = 1")) == []
    assert faults(notebook(good, tag=False)) == ["0 cells tagged parameters"]
    assert faults(notebook('run = "a"')) == ["a parameter without an annotation"]
    assert faults(notebook(good, first="Title")) == ["no title"]
    assert faults(notebook(good, "def f():\n    pass")) == [
        "code cell 1 defines a function or a class"
    ]
    assert faults(notebook(good, "x = 1\n" * 16)) == ["code cell 1 has 16 lines"]
    executed = notebook(good, "print(1)")
    executed.cells[2].outputs = [nbformat.v4.new_output("stream", text="1")]
    assert faults(executed) == ["code cell 1 has outputs"]


def test_no_committed_text_names_a_folder_of_somebody_s_machine():
    absolute = re.compile(r"""["'\s(=](/home/|/Users/|/root/|/work/|/tmp/|[A-Z]:\\\\)\w""")
    texts = [
        path
        for kind in ("*.py", "*.md", "*.ipynb", "*.toml", "*.yml", "*.txt", "Makefile")
        for path in committed(kind)
    ]
    assert len(texts) > 20
    named = [str(path.relative_to(ROOT)) for path in texts if absolute.search(path.read_text())]
    assert named in ([], ["tests/test_house.py"])


def committed(kind):
    """Files of the clone by name, outside environments and runs."""
    skipped = ("runs", "build", "dist", "site")
    folders = []
    for path in ROOT.iterdir():
        hidden = path.name.startswith(".") and path.name != ".ci"
        if path.is_dir() and not hidden and path.name not in skipped:
            folders.append(path)
    return [*ROOT.glob(kind), *(path for folder in folders for path in folder.rglob(kind))]
