"""The commands of `cdrl` and their arguments, as a table.

Nothing heavy is imported here, so that `cdrl --help` is immediate: a command names its function as
"module:function", and its module is imported when the command runs.
"""

import argparse
from dataclasses import dataclass
from typing import Any

from cdrl.core.paths import repository_root
from cdrl.core.presets import PRESETS
from cdrl.core.vocabulary import EMOTIONS

NOTEBOOK_NUMBERS = ("00", "01", "02", "03", "04", "05", "06")
GROUPS = {
    "data": "corpora on disk: check ROOT, ingest ROOT into a crop store, studio clips as files"
}


@dataclass(frozen=True)
class Argument:
    """One argument of a command.

    Attributes:
        names: as `argparse.ArgumentParser.add_argument` takes them.
        settings: the other parameters of that method.
    """

    names: tuple[str, ...]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        words: that are typed, as ("run",) or ("data", "check").
        function: "module:function"; it is called with the parsed arguments.
        help: one line.
        arguments: in the order of the help.
        check: "module:function" that is called before; it imports nothing heavy.
    """

    words: tuple[str, ...]
    function: str
    help: str
    arguments: tuple[Argument, ...] = ()
    check: str = ""


def argument(*names: str, **settings: Any) -> Argument:
    """An argument of a command, written as for `add_argument`.

    Args:
        names: "run" is positional, "--out" an option.
        settings: help, default, metavar and so on.
    """
    return Argument(names, settings)


def one_intensity(text: str) -> float:
    """Read an intensity; its range is checked with the rest of the request.

    Args:
        text: as it was typed.

    Raises:
        argparse.ArgumentTypeError: for what is no number.
    """
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text}: one number from 0 to 1.5 is needed; intensity over time is --curve 0:0,2:1"
        ) from None


def positive_number(text: str) -> float:
    """Read a number above 0.

    Args:
        text: as it was typed.

    Raises:
        argparse.ArgumentTypeError: for any other number.
    """
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: a number above 0 is needed")
    return number


RUN = argument("run", metavar="RUN", help="as in runs/demo")
SETTINGS = argument(
    "--set",
    action="append",
    default=[],
    metavar="NAME=VALUE",
    help="a setting, as in content.steps=200; repeatable",
)
REMAKE = argument(
    "--remake",
    choices=("changed",),
    help="make again what other code made; the former folders are kept",
)
CORPUS_ROOT = argument(
    "root", metavar="ROOT", help="folder of MEAD, RAVDESS, CREMA-D or of any videos"
)
CORPUS_NAME = argument(
    "--corpus", default="", help="mead, ravdess, crema-d, folder (default: by the files' names)"
)
CORPUS_TEMPLATE = argument(
    "--template", default="", help="of a folder, as {speaker}/{emotion}/{sentence}_{take}"
)

CLUSTER = argument(
    "--cluster",
    default="",
    metavar="WHERE",
    help="a Dask cluster does the jobs: tcp://HOST:PORT, scheduler.json, local:N, slurm:N",
)

COMMANDS = (
    Command(
        ("doctor",),
        "cdrl.cli.doctor:doctor",
        "versions, device, weights and corpora; what each missing piece needs",
    ),
    Command(
        ("run",),
        "cdrl.cli.run:run",
        "run the notebooks in order; resumes",
        (
            argument("--preset", default="cpu", choices=PRESETS),
            argument(
                "--corpus", help="studio (generated, the default), mead, ravdess, crema-d, folder"
            ),
            argument("--data-root", metavar="FOLDER", help="of a corpus that is not generated"),
            argument("--out", metavar="FOLDER", help="folder of the run (default: runs/PRESET)"),
            argument(
                "--from",
                dest="first",
                choices=NOTEBOOK_NUMBERS,
                metavar="NN",
                help="execute notebook NN and all after it again, 00 to 06",
            ),
            CLUSTER,
            REMAKE,
            SETTINGS,
        ),
        check="cdrl.cli.checks:run",
    ),
    Command(
        ("grid",),
        "cdrl.cli.grid:grid",
        "run the notebooks over a table of settings, several runs at once; resumes",
        (
            argument(
                "grid",
                metavar="GRID.yaml",
                help="keys: preset, notebooks, settings, grid, rows, scores",
            ),
            argument("--out", metavar="FOLDER", help="(default: runs/ and the file's name)"),
            argument(
                "--workers", type=int, default=1, metavar="N", help="runs at once (default 1)"
            ),
            CLUSTER,
            REMAKE,
        ),
        check="cdrl.cli.checks:grid",
    ),
    Command(
        ("compare",),
        "cdrl.cli.compare:compare",
        "a loss or an encoder of your own, or any content.NAME=VALUE, beside the kit's; minutes",
        (
            argument(
                "ideas",
                metavar="NAME=VALUE",
                nargs="+",
                help="an idea, as in content.loss=mine:triplet; several settings of one idea "
                "between commas",
            ),
            argument(
                "--run",
                metavar="RUN",
                help="whose features are taken (default: runs/demo; without it a small run is "
                "made first)",
            ),
            argument("--preset", default="cpu", choices=PRESETS, help="of that run (default cpu)"),
            argument("--steps", type=int, default=50, help="of each training (default 50)"),
            argument("--batch", type=int, default=4, help="pairs of clips (default 4)"),
            argument(
                "--seeds",
                type=int,
                default=1,
                metavar="N",
                help="trainings of each, with the seeds 0 to N - 1 (default 1)",
            ),
        ),
        check="cdrl.cli.checks:compare",
    ),
    Command(
        ("scores",),
        "cdrl.cli.scores:scores",
        "print the scores of a run that matter; by pattern or all, as `name value` lines",
        (
            RUN,
            argument(
                "pattern",
                metavar="PATTERN",
                nargs="?",
                default="",
                help="as in content or 'spfem.*.psnr'",
            ),
            argument("--all", action="store_true", help="print every score"),
        ),
    ),
    Command(
        ("explore",),
        "cdrl.cli.pages:explore",
        "write a run's two linked maps, faces and clips as one HTML page",
        (
            RUN,
            argument("--out", metavar="FILE.html", help="(default: RUN/explorer.html)"),
            argument(
                "--points",
                type=int,
                default=0,
                metavar="N",
                help="map N frames again (default: the maps that the run has)",
            ),
        ),
        check="cdrl.cli.checks:page",
    ),
    Command(
        ("dial",),
        "cdrl.cli.dial:dial",
        "write clips beside their edits as one HTML page, with controls for emotion and intensity",
        (
            RUN,
            argument(
                "--clip",
                metavar="FILE",
                help="a video of one face, up to 10 seconds (default: clips of the run)",
            ),
            argument(
                "--text",
                action="append",
                default=[],
                help="an emotion in words, as cdrl edit takes it; repeatable",
            ),
            argument(
                "--reference",
                action="append",
                default=[],
                metavar="FILE",
                help="a video to take the emotion from; repeatable",
            ),
            argument(
                "--editor",
                "--generator",
                dest="generator",
                metavar="NAME",
                help="actions, which edits by facial actions, image, another run, or weights "
                "(default: RUN's own)",
            ),
            argument("--out", metavar="FILE.html", help="(default: RUN/dial.html)"),
        ),
        check="cdrl.cli.checks:page",
    ),
    Command(
        ("edit",),
        "cdrl.cli.edit:edit",
        "edit the emotion of a video, or of every video of a folder; the sound stays",
        (
            argument(
                "source",
                metavar="SOURCE",
                help="a video file that shows a face, or a folder of such files",
            ),
            argument("positional_emotion", metavar="EMOTION", nargs="?", help="as --emotion"),
            argument(
                "--emotion", help=f"{', '.join(EMOTIONS)}; or a mixture, happy:0.7,surprised:0.3"
            ),
            argument(
                "--text",
                help="a description; without a real CLIP in the words of its captions: "
                "'lip corners up, cheeks raised'",
            ),
            argument(
                "--reference",
                metavar="FILE",
                help="a video that shows the emotion; it is read from the face, and printed",
            ),
            argument(
                "--guidance",
                metavar="RUN",
                help="encoders that read --text and --reference and guide the --fit of an image "
                "editor (default: the committed encoders; for --fit those of --editor's run)",
            ),
            argument(
                "--intensity",
                type=one_intensity,
                help="0 changes nothing, 1 is strong, up to 1.5 (default 1)",
            ),
            argument(
                "--curve",
                metavar="S:I,...",
                help="intensity over time, as in 0:0,1.5:1,3:0 (seconds:intensity, linear in "
                "between)",
            ),
            argument(
                "--from",
                dest="source_emotion",
                metavar="EMOTION",
                help="what SOURCE shows; then an emotion to itself changes nothing",
            ),
            argument(
                "--editor",
                "--generator",
                dest="generator",
                metavar="NAME",
                help="actions, image, folder of a run, or weights (default: actions, by facial "
                "actions)",
            ),
            argument(
                "--face",
                metavar="N",
                help="which of several faces: its number, left to right, or a box "
                "left,top,width,height in pixels (default: the widest)",
            ),
            argument(
                "--mark",
                action="store_true",
                help="write into a corner of every frame that it is synthetic",
            ),
            argument(
                "--out",
                required=True,
                metavar="OUT.mp4",
                help="the edited video; of a folder, the folder of the edits",
            ),
            argument(
                "--compare",
                action="store_true",
                help="also write OUT-compare.mp4: source and edit side by side",
            ),
            argument(
                "--truth", metavar="FILE", help="a video of the true edit, third in the comparison"
            ),
            argument(
                "--fit",
                metavar="FOLDER",
                help="first fit to this person's clips there, any names, no labels, in minutes; "
                "kept only where it helps on frames left out (--editor image: clips named as "
                "CREMA-D's)",
            ),
        ),
    ),
    Command(
        ("evaluate",),
        "cdrl.cli.evaluate:evaluate",
        "edit one clip of every person of a folder and measure: emotion, identity, mouth; resumes",
        (
            argument("folder", metavar="FOLDER", help="videos of people who speak"),
            argument(
                "--editor",
                default="actions",
                help="actions (the default), actions_plain (the same networks as they are), image, "
                "copy, or several between commas",
            ),
            argument(
                "--edits",
                default="",
                metavar="FOLDER",
                help="edits that were made before, as EMOTION/CLIP.mp4, in place of --editor",
            ),
            argument("--emotions", default="", help="between commas (default: all six)"),
            argument(
                "--studio",
                type=int,
                default=0,
                metavar="N",
                help="the same of N people of the studio, 1 to 8, and of their true edits",
            ),
            argument(
                "--out",
                default="results/real",
                metavar="FOLDER",
                help="numbers and tables (default: results/real)",
            ),
            argument(
                "--work",
                default="runs/real",
                metavar="FOLDER",
                help="videos, readings and a page, to stay on your machine (default: runs/real)",
            ),
        ),
        check="cdrl.cli.checks:evaluate",
    ),
    Command(
        ("export",),
        "cdrl.cli.export:export",
        "networks as ONNX files for programs without torch, each compared with torch",
        (
            argument("names", metavar="NAME", nargs="*", help="of networks (default: all)"),
            argument("--out", default="onnx", metavar="FOLDER", help="default: onnx"),
            argument(
                "--guidance",
                default="guidance",
                metavar="RUN",
                help="a run whose encoders are exported (default: the committed ones)",
            ),
        ),
        check="cdrl.cli.checks:export",
    ),
    Command(
        ("train",),
        "cdrl.cli.train:train",
        "make a committed network again; without a name: list them",
        (
            argument("name", metavar="NAME", nargs="?"),
            argument(
                "--out",
                default=str(repository_root() / "data" / "weights"),
                help="folder (default: data/weights)",
            ),
            argument(
                "--cards",
                action="store_true",
                help="train nothing: write README.md of that folder from the cards in it",
            ),
            argument(
                "--work",
                default="runs/train",
                help="folder of the checkpoints (default: runs/train)",
            ),
        ),
        check="cdrl.cli.checks:train",
    ),
    Command(
        ("study",),
        "cdrl.cli.train:study",
        "all rows of the comparison over seeds; hours, resumable",
        (
            argument(
                "--out",
                metavar="FOLDER",
                help="the tables (default: results/study; of the sealed set results/sealed)",
            ),
            argument(
                "--sealed",
                action="store_true",
                help="score the sealed people, once, as the committed protocol says",
            ),
            argument(
                "--again",
                action="store_true",
                help="score the sealed people although they were scored; every table says so",
            ),
            argument(
                "--work",
                default="runs/study",
                metavar="FOLDER",
                help="corpora, features, jobs (default: runs/study)",
            ),
            CLUSTER,
            SETTINGS,
        ),
        check="cdrl.cli.checks:study",
    ),
    Command(
        ("data", "check"),
        "cdrl.cli.data:check",
        "what a folder holds: clips, gaps, odd files, the cost of an ingest; of a store, its sums",
        (
            CORPUS_ROOT,
            CORPUS_NAME,
            CORPUS_TEMPLATE,
            argument(
                "--manifest",
                metavar="FILE",
                help="compare with it (default: runs/manifests/CORPUS.parquet)",
            ),
            argument("--write", action="store_true", help="write the manifest"),
            argument("--sums", action="store_true", help="SHA-256 of every file; resumes"),
            argument(
                "--probe", action="store_true", help="open every file's header, not a sample's"
            ),
            argument(
                "--split",
                default="",
                metavar="NAME",
                help="strict, or as in data/splits: what it makes of ROOT",
            ),
            argument(
                "--frames-per-second",
                type=positive_number,
                default=0.0,
                help="of an ingest on one core (default: by the pictures' size)",
            ),
        ),
        check="cdrl.cli.checks:manifest",
    ),
    Command(
        ("data", "ingest"),
        "cdrl.cli.data:ingest",
        "every clip of a corpus, face cropped, into a crop store; resumes",
        (
            CORPUS_ROOT,
            CORPUS_NAME,
            CORPUS_TEMPLATE,
            argument(
                "--manifest",
                metavar="FILE",
                help="one that cdrl data check wrote, in place of --corpus",
            ),
            argument("--out", required=True, metavar="STORE", help="folder of the crop store"),
            argument(
                "--fps",
                type=positive_number,
                default=25.0,
                help="frames a second (default 25; the paper has 30)",
            ),
            argument(
                "--crop",
                choices=("aligned", "released"),
                default="aligned",
                help="the kit's, or the CDRL release's (default aligned)",
            ),
            argument("--crop-size", type=int, default=96, help="pixels a side (default 96)"),
            argument("--workers", type=int, default=2, help="processes (default 2)"),
            CLUSTER,
            argument(
                "--detector",
                default="embedded",
                help="mediapipe, facenet-pytorch, module:function (default embedded)",
            ),
            argument(
                "--boxes",
                default="",
                metavar="FOLDER",
                help="faces found before: NAME.csv or .npz for each clip",
            ),
            argument("--allow-silent", action="store_true", help="take clips without sound too"),
            argument(
                "--limit",
                type=positive_number,
                default=600.0,
                metavar="SECONDS",
                help="for one clip (default 600)",
            ),
        ),
        check="cdrl.cli.checks:ingest",
    ),
    Command(
        ("data", "studio"),
        "cdrl.cli.data:studio",
        "rendered people as video and sound files in a real corpus's folders",
        (
            argument(
                "--layout", required=True, metavar="NAME", help="mead, ravdess, crema-d or folder"
            ),
            argument("--out", required=True, metavar="FOLDER"),
            argument("--people", type=int, default=2, help="1 to 4 (default 2)"),
            argument("--sentences", type=int, default=2, help="default 2; more need espeak-ng"),
            argument("--size", type=int, default=256, help="pixels a side (default 256)"),
            argument(
                "--level",
                type=int,
                default=0,
                help="1 to 3 for every clip but neutral (default 0: drawn)",
            ),
            argument(
                "--version",
                type=int,
                default=1,
                help="of the studio: 2 has beards, glasses, wrinkles, cameras (default 1)",
            ),
        ),
        check="cdrl.cli.checks:studio",
    ),
)
