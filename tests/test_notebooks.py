"""Every notebook runs headless on `smoke`, and a second run of the executed copies prints the same numbers."""

import json
import subprocess
import sys
from pathlib import Path

from cdrl.core.paths import repository_root
from cdrl.core.results import all_scores, read_results

ROOT = repository_root()
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
    "spfem.image.copy_source.mouth_error",
    "spfem.image.baseline.emotion_accuracy",
    "spfem.image.cdrl.psnr",
    "spfem.image.cdrl.fps",
    "spfem.drawn.cdrl.fps",
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
    assert scores["content.viseme.n"] > 0 and 0 < scores["content.viseme.chance"] < 1
    printed = command("scores", str(smoke)).stdout
    assert all(f"{name} " in printed for name in NEEDED)


def test_the_run_leaves_a_report_and_videos_with_sound(smoke):
    import av

    page = (smoke / "report.html").read_text()
    assert "<video" in page and "content.swap_image" in page
    videos = sorted((smoke / "videos").glob("*.mp4"))
    assert videos
    with av.open(str(videos[0])) as container:
        assert container.streams.video and container.streams.audio
        assert "synthetic" in container.metadata["comment"]


def test_an_executed_notebook_stays_small_and_the_dial_is_in_the_fifth(smoke):
    copies = sorted((smoke / "notebooks").glob("*.ipynb"))
    assert (
        len(copies) == 7
        and {path.name: path.stat().st_size for path in copies if path.stat().st_size >= 2_000_000}
        == {}
    )
    assert (
        "cdrl-dial" in copies[5].read_text() and "cdrl-dial" in (smoke / "report.html").read_text()
    )


def test_a_second_run_prints_the_same_numbers(smoke):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "--nbval-lax",
            "--nbval-current-env",
            str(smoke / "notebooks"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout[-3000:]


def test_a_finished_run_is_read_and_not_made_again(smoke):
    again = command("run", "--preset", "smoke", "--out", str(smoke))
    assert again.returncode == 0 and again.stdout.count("done before") == 7


def test_other_settings_need_another_run(smoke):
    refused = command("run", "--preset", "smoke", "--out", str(smoke), "--set", "content.steps=21")
    assert refused.returncode == 2 and "was made with steps=20, now 21" in refused.stderr


def test_no_training_opens_a_true_edit(smoke):
    """The stores that training reads hold no name of a true edit, and no module of training imports what renders them."""
    from cdrl.corpora.store import Store

    names = set(Store(smoke / "00_corpus" / "edits").clips.name)
    assert names and names.isdisjoint(Store(smoke / "00_corpus" / "train").clips.name)
    for path in [
        *(ROOT / "cdrl/training").glob("*.py"),
        *(ROOT / "cdrl/representation").glob("*.py"),
        ROOT / "cdrl/editors/image.py",
        ROOT / "cdrl/editors/manipulator.py",
        ROOT / "cdrl/editors/constant.py",
        ROOT / "cdrl/representation/guidance.py",
        *(ROOT / "cdrl/editing").glob("*.py"),
    ]:
        text = path.read_text().replace(
            "from cdrl.studio.edits import source_of\n", ""
        )  # the name of an edit's source, no picture
        assert "studio.edits" not in text and "true_edit" not in text


def test_parameters_of_the_executed_copies_are_the_ones_asked_for(smoke):
    for path in sorted(Path(smoke / "notebooks").glob("*.ipynb")):
        parameters = json.loads(path.read_text())["metadata"]["papermill"]["parameters"]
        assert parameters["preset"] == "smoke"
