"""Every notebook runs headless on `smoke`; a second run of the copies prints the same numbers."""

import json
import subprocess
import sys

import av
import nbformat
from conftest import SMOKE_RUN
from test_course import execute

from cdrl.cli.main import main
from cdrl.core.paths import repository_root
from cdrl.core.results import all_scores, read_results
from cdrl.core.settings import stage_config
from cdrl.corpora.store import Store
from cdrl.stages import compare_content

ROOT = repository_root()
LARGEST_NOTEBOOK = 5_000_000  # bytes
# It gives the name of an edit's source, no picture.
HARMLESS_IMPORT = "from cdrl.studio.edits import source_of\n"
TRAINING_FOLDERS = ("training", "representation", "editing")
TRAINING_FILES = ("editors/image.py", "editors/manipulator.py", "editors/constant_baseline.py")
NEEDED = (
    "corpus.emotion_from_mouth",
    "corpus.viseme_from_truth",
    "corpus.copy_mouth_correlation",
    "content.viseme",
    "content.emotion",
    "content.emotion_clip",
    "content.speaker",
    "content.speaker_share",
    "content.retrieval_r1",
    "content.swap_image",
    "content.swap_audio",
    "content_av.swap_image",
    "emotion.emotion",
    "emotion.emotion_frame",
    "emotion.intensity",
    "emotion.viseme",
    "emotion.sentence",
    "emotion.speaker",
    "hsic.content_emotion",
    "rank.content",
    "control.constant.content.emotion",
    "control.noise.content.emotion",
    "control.shuffled.content.swap_image",
    "control.permuted.content.emotion",
    "spfem.actions.copy_source.mouth_error",
    "spfem.actions.constant.mouth_error",
    "spfem.actions.baseline.emotion_accuracy",
    "spfem.actions.cdrl.psnr",
    "spfem.actions.cdrl.fps",
    "time.total_seconds",
    "memory.peak_gb",
)


def command(*words):
    return subprocess.run(
        [sys.executable, "-m", "cdrl.cli.main", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1500,
    )


def test_every_notebook_runs_and_every_score_is_printed(smoke):
    scores = all_scores(read_results(smoke))
    assert [name for name in NEEDED if name not in scores] == []
    assert scores["content.viseme.n"] > 0
    assert 0 < scores["content.viseme.chance"] < 1

    printed = command("scores", str(smoke), "--all").stdout
    assert [name for name in NEEDED if f"{name} " not in printed] == []


def test_the_run_leaves_a_report(smoke):
    page = (smoke / "report.html").read_text()
    assert "<video" in page
    assert "content.swap_image" in page


def test_the_run_leaves_videos_with_sound_that_are_called_synthetic(smoke):
    videos = sorted((smoke / "videos").glob("*.mp4"))
    assert videos
    with av.open(str(videos[0])) as container:
        assert container.streams.video
        assert container.streams.audio
        assert "synthetic" in container.metadata["comment"]


def test_an_executed_notebook_stays_small(smoke):
    copies = sorted((smoke / "notebooks").glob("*.ipynb"))
    assert len(copies) == 7
    assert [copy.name for copy in copies if copy.stat().st_size >= LARGEST_NOTEBOOK] == []


def test_the_dial_is_in_the_notebook_of_the_generator_and_in_the_report(smoke):
    [copy] = (smoke / "notebooks").glob("05_*.ipynb")
    assert "cdrl-dial" in copy.read_text()
    assert "cdrl-dial" in (smoke / "report.html").read_text()


def joined(paths):
    """One notebook with the cells of several, and what those printed."""
    notebook = nbformat.read(paths[0], 4)
    for path in paths[1:]:
        notebook.cells += nbformat.read(path, 4).cells
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
    return notebook


def test_a_second_run_prints_the_same_numbers(smoke, tmp_path):
    """All copies in one kernel: each alone was executed by the first run."""
    copies = sorted((smoke / "notebooks").glob("*.ipynb"))
    notebook = joined(copies)
    checked = [cell for cell in notebook.cells if "NBVAL_CHECK_OUTPUT" in cell.source]
    assert len(copies) == 7
    assert len(checked) >= 7
    assert all(cell.outputs for cell in checked)
    nbformat.write(notebook, tmp_path / "copies.ipynb")

    options = ["-q", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path / "copies.ipynb")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_a_finished_run_is_read_and_not_made_again(smoke):
    again = command(*SMOKE_RUN, "--out", str(smoke))
    assert again.returncode == 0
    assert again.stdout.count("done before") == 7


def test_other_settings_need_another_run(smoke):
    refused = command(*SMOKE_RUN, "--out", str(smoke), "--set", "content.steps=21")
    assert refused.returncode == 2
    assert "was made with steps=20, now 21" in refused.stderr


def test_the_training_clips_hold_no_true_edit(smoke):
    edits = set(Store(smoke / "00_corpus" / "edits").clips.name)
    training = set(Store(smoke / "00_corpus" / "train").clips.name)
    assert edits
    assert not edits & training


def test_no_module_of_training_imports_what_renders_true_edits():
    paths = [ROOT / "cdrl" / name for name in TRAINING_FILES]
    for folder in TRAINING_FOLDERS:
        paths += (ROOT / "cdrl" / folder).glob("*.py")
    for path in paths:
        source = path.read_text().replace(HARMLESS_IMPORT, "")
        assert "studio.edits" not in source, path
        assert "true_edit" not in source, path


def test_parameters_of_the_executed_copies_are_the_given_ones(smoke):
    for path in sorted((smoke / "notebooks").glob("*.ipynb")):
        parameters = json.loads(path.read_text())["metadata"]["papermill"]["parameters"]
        assert parameters["preset"] == "smoke"


def test_ideas_are_scored_beside_the_default_with_intervals(smoke):
    parameters = {"run_folder": str(smoke), "preset": "smoke", "settings": {}}
    values = execute("07_your_own_loss", parameters | {"steps": 3, "batch": 3})
    scores = values["scores"]
    assert "circle loss" in values["ideas"]
    for name in values["ideas"]:
        for score in ("swap_image", "viseme", "emotion"):
            key = f"{name}.{score}"
            assert scores[f"{key}.low"] <= scores[key] <= scores[f"{key}.high"]
    assert scores["in order.swap_image"] != scores["triplet.swap_image"]

    same = {"first": values["config"], "again": values["config"]}
    control = compare_content(smoke, same, stage_config("probe", "smoke"), seeds=(0, 1))
    for gain in ("swap_image_gain", "viseme_gain", "emotion_gain"):
        assert control[f"again.{gain}"] == 0
        assert control[f"again.{gain}.low"] == control[f"again.{gain}.high"] == 0


def test_the_command_compares_an_idea_with_the_default_on_a_run(smoke, capsys):
    idea = "content.temperature=0.5"
    sizes = ("--steps", "3", "--batch", "3", "--seeds", "2")
    assert main(["compare", idea, "--run", str(smoke), "--preset", "smoke", *sizes]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "2 x 2 trainings of 3 steps" in lines[0]
    assert len([line for line in lines if idea in line]) == 3
