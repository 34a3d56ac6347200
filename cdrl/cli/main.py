"""The one console command, thin over the package. Heavy imports wait inside the commands; --help is immediate."""

import argparse
import os
import sys
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

from cdrl.cli.data import add_data_commands
from cdrl.cli.edit import add_edit_command
from cdrl.core.errors import InputError
from cdrl.core.files import check_disk
from cdrl.core.paths import repository_root
from cdrl.core.presets import COSTS, PRESETS
from cdrl.core.results import all_scores, read_results, score_lines
from cdrl.core.settings import EVERY_STAGE, STAGES, CorpusConfig, PriorsConfig, stage_config
from cdrl.core.stage import finish_run


def main(arguments=None):
    """Runs one command.

    Args:
        arguments: list of words, as in ["run", "--preset", "smoke"]; None for the process's own.

    Returns:
        Exit status: 0, 1 for a fault of the kit, 2 for input that cannot be used (one line on stderr says why),
        130 for Ctrl-C.
    """
    try:
        chosen = build_parser().parse_args(arguments)
        return chosen.command(chosen) or 0
    except InputError as error:
        print(f"cdrl: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("cdrl: interrupted; the same command goes on from here", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `cdrl scores RUN | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def parse_settings(texts):
    """["content.steps=200"] -> {"content.steps": "200"}.

    Raises:
        InputError: for a text without a name or an equals sign.
    """
    settings = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise InputError(f"--set {text}: name=value is needed, as in --set content.steps=200")
        settings[name.strip()] = value.strip()
    return settings


def _doctor(chosen):
    from cdrl.cli.doctor import examine, finding_lines

    findings = examine()
    print("\n".join(finding_lines(findings)))
    return int(any(finding.required and not finding.present for finding in findings))


def _run(chosen):
    settings = parse_settings(chosen.set)
    for name, value in (("corpus.corpus", chosen.corpus), ("corpus.data_root", chosen.data_root)):
        if value:
            settings[name] = value
    _check_corpus(chosen.preset, settings)
    _check_priors(chosen.preset, settings)
    from cdrl.cli.notebooks import NotebookError, notebook_paths, plan_notebooks, run_notebooks

    run = _in_clone(Path(chosen.out or f"runs/{chosen.preset}"))
    out = repository_root() / run
    parameters = plan_notebooks(notebook_paths(), run, chosen.preset, settings)
    cost = COSTS[chosen.preset]
    check_disk(out, cost.disk_gb)
    print(
        f"preset {chosen.preset} into {run}: about {cost.minutes:g} minutes on 2 idle cores, "
        f"{cost.memory_gb:g} GB of memory, {cost.disk_gb:g} GB of disk at most; "
        "Ctrl-C is safe, the same command resumes",
        flush=True,
    )
    try:
        seconds, peak_gb = run_notebooks(parameters, out, first=chosen.first)
    except NotebookError as error:
        print(f"cdrl: {error}", file=sys.stderr)
        return 1
    cost = finish_run(out, seconds, peak_gb)["run"]
    from cdrl.report.page import write_report

    page = write_report(out)
    print(
        f"{cost['time.total_seconds'] / 60:.1f} minutes, {cost['memory.peak_gb']:.1f} GB at most. Read {run}/{page.name}; "
        f"videos in {run}/videos, scores: cdrl scores {run}"
    )
    return 0


def _scores(chosen):
    lines = score_lines(all_scores(read_results(chosen.run)), chosen.pattern)
    if not lines:
        raise InputError(
            f"no score of {chosen.run} matches {chosen.pattern!r}: cdrl scores {chosen.run} lists all"
        )
    print("\n".join(lines))


def _explore(chosen):
    from cdrl.report.explorer import write_page

    _page(chosen, "explorer", lambda run, out: write_page(run, out, chosen.points))


def _dial(chosen):
    from cdrl.report.dial import write_page

    _page(
        chosen,
        "dial",
        lambda run, out: write_page(
            run, out, chosen.clip, chosen.text, chosen.reference, chosen.generator
        ),
    )


def _page(chosen, name, write):
    run = _in_clone(Path(chosen.run))
    out = Path(chosen.out) if chosen.out else repository_root() / run / f"{name}.html"
    if out.suffix != ".html":
        raise InputError(
            f"--out {out}: the {name} is an .html file, as in --out {out.with_suffix('.html').name}"
        )
    page = write(run, out)
    print(
        f"{page} ({page.stat().st_size / 1e6:.1f} MB): open it in any browser, no network is needed"
    )


def _grid(chosen):
    if chosen.workers < 1:
        raise InputError(f"--workers {chosen.workers}: a whole number from 1 is needed")
    from cdrl.cli.grid import check_grid, read_grid, run_grid

    grid = read_grid(chosen.grid)
    out = (
        Path(chosen.out) if chosen.out else repository_root() / "runs" / Path(chosen.grid).stem
    ).resolve()
    check_grid(grid, out)
    cost = COSTS[grid.preset]
    check_disk(out, cost.disk_gb * len(grid.rows))
    print(
        f"{len(grid.rows)} runs of {len(grid.notebooks)} notebooks, preset {grid.preset}, into {out}: at most "
        f"{cost.minutes:g} minutes each on 2 idle cores, {cost.memory_gb * chosen.workers:g} GB of memory for "
        f"{chosen.workers} at once; Ctrl-C is safe, the same command resumes",
        flush=True,
    )
    results, failures = run_grid(grid, out, chosen.workers)
    failed = f", {len(failures)} failed: {out / 'failures.csv'}" if len(failures) else ""
    print(
        f"{results.run.nunique()} runs{failed}. Read {out / 'grid.html'}; every score: {out / 'results.csv'}"
    )
    return int(len(failures) > 0)


def _train(chosen):
    from cdrl.recipes import RECIPES

    if chosen.cards:
        from cdrl.report.model_cards import write_cards

        return print(write_cards(Path(chosen.out)))
    if not chosen.name:
        for name, recipe in RECIPES.items():
            print(f"{name}: {recipe.__doc__.splitlines()[0]}")
        return
    if chosen.name not in RECIPES:
        raise InputError(f"unknown network {chosen.name!r}: accepted are {', '.join(RECIPES)}")
    card = RECIPES[chosen.name](out=Path(chosen.out), work=Path(chosen.work) / chosen.name)
    print("\n".join(score_lines(card["scores"])))


def _study(chosen):
    from cdrl.core.settings import StudyConfig, from_dict

    settings = {
        name.removeprefix("study."): value for name, value in parse_settings(chosen.set).items()
    }
    config = from_dict(StudyConfig, settings)
    check_disk(Path(chosen.work), 20 if config.speech == "espeak" else 1)
    from cdrl.study.run import run_study

    results = run_study(Path(chosen.out), Path(chosen.work), config)
    for pattern in ("control.inside", "spfem.*.cdrl_minus_baseline.mouth_error.at_equal_accuracy*"):
        print("\n".join(score_lines(all_scores(results), pattern)))
    print(f"tables: {chosen.out}, scores: cdrl scores {chosen.out}")


def _check_corpus(preset, settings):
    """A corpus root that is not there is refused before anything runs; paths become absolute for the notebooks' kernels."""
    own = {item.name for item in fields(CorpusConfig)} - {"seed"}
    settings |= {f"corpus.{name}": settings.pop(name) for name in own & settings.keys()}
    stage_settings = {name: value for name, value in settings.items() if name.startswith("corpus.")}
    config = stage_config("corpus", preset, stage_settings)
    if config.corpus != "studio" and not config.data_root:
        raise InputError(
            f"corpus {config.corpus}: it is not generated, name its folder: --data-root FOLDER; or take --corpus studio"
        )
    if config.data_root and not Path(config.data_root).is_dir():
        raise InputError(
            f"corpus {config.corpus}: corpus.data_root={config.data_root} is not a folder: give the folder that holds "
            "the corpus, --set corpus.data_root=FOLDER"
        )
    for name in ("data_root", "ingested", *(["split"] if config.split.endswith(".json") else [])):
        if getattr(config, name):
            settings[f"corpus.{name}"] = str(Path(getattr(config, name)).resolve())


def _check_priors(preset, settings):
    """Weights that are not there, or not what they should be, are told before anything runs, one line each; paths are made absolute."""
    names = [
        item.name
        for item in fields(PriorsConfig)
        if item.name in settings and item.name not in EVERY_STAGE
    ]
    settings |= {"priors.device": settings["device"]} if "device" in settings else {}
    settings |= {f"priors.{name}": settings.pop(name) for name in names if name != "batch"}
    for name in ("priors.weights", "priors.features"):
        if settings.get(name):
            settings[name] = str(Path(settings[name]).resolve())
    config = stage_config(
        "priors",
        preset,
        {name: value for name, value in settings.items() if name.startswith("priors.")},
    )
    if config.weights:
        os.environ["CDRL_WEIGHTS"] = config.weights  # for the notebooks after 01
    if config.device not in ("auto", "cpu"):
        from cdrl.core.devices import pick_device

        pick_device(config.device)
    if {config.audio, config.language, config.vision} != {"embedded"}:
        from cdrl.stages.s01_priors import load_priors

        load_priors(
            replace(config, device="cpu")
        )  # to see that they load; the GPU is the notebooks'
    _check_published(settings)


def _check_published(settings):
    """Load what notebook 06 will need, so that a wrong file is told before the work."""
    from cdrl.evaluation.lip_sync import load_syncnet
    from cdrl.evaluation.realism import load_published

    loaders = {
        "syncnet": load_syncnet,
        "arcface": partial(load_published, "face"),
        "efficient_face": partial(load_published, "expression"),
    }
    for name, load in loaders.items():
        for key in (f"evaluate.{name}", name):
            if settings.get(key):
                settings[key] = str(Path(settings[key]).resolve())
                load(settings[key])


def _in_clone(path):
    """Relative to the clone where it lies in it, so that the executed notebooks name no home folder."""
    path, root = path.resolve(), repository_root()
    return path.relative_to(root) if path.is_relative_to(root) else path


def _number_of_notebook(text):
    if text not in [f"{number:02d}" for number in range(len(STAGES))]:
        raise argparse.ArgumentTypeError(
            f"{text}: two digits from 00 to {len(STAGES) - 1:02d} are accepted"
        )
    return text


class _OneLineParser(argparse.ArgumentParser):
    """Reports a word it cannot read as every other bad input is reported."""

    def error(self, message):
        raise InputError(f"{message} (see {self.prog} --help)")


def build_parser():
    parser = _OneLineParser(
        prog="cdrl", description="Edit the emotion of talking heads: CCRL, CERL, SPFEM."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    doctor = commands.add_parser(
        "doctor", help="versions, device, weights and corpora; what each missing piece needs"
    )
    doctor.set_defaults(command=_doctor)

    run = commands.add_parser("run", help="run the notebooks in order; resumes")
    run.add_argument("--preset", default="cpu", choices=PRESETS)
    run.add_argument(
        "--corpus", help="studio (generated, the default), mead, ravdess, crema_d, folder"
    )
    run.add_argument(
        "--data-root", metavar="FOLDER", help="where a corpus that is not generated lies"
    )
    run.add_argument("--out", help="folder of the run (default: runs/PRESET)", metavar="FOLDER")
    run.add_argument(
        "--from",
        dest="first",
        type=_number_of_notebook,
        metavar="NN",
        help="begin with notebook NN again",
    )
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="as in content.steps=200; repeatable",
    )
    run.set_defaults(command=_run)

    grid = commands.add_parser(
        "grid", help="run the notebooks over a table of settings, several runs at once; resumes"
    )
    grid.add_argument(
        "grid", metavar="GRID.yaml", help="keys: preset, notebooks, settings, grid, rows, scores"
    )
    grid.add_argument("--out", metavar="FOLDER", help="(default: runs/ and the file's name)")
    grid.add_argument(
        "--workers", type=int, default=1, metavar="N", help="runs at once (default 1)"
    )
    grid.set_defaults(command=_grid)

    scores = commands.add_parser("scores", help="print the scores of a run as `name value` lines")
    scores.add_argument("run", metavar="RUN", help="as in runs/demo")
    scores.add_argument(
        "pattern", metavar="PATTERN", nargs="?", default="", help="as in content or 'spfem.*.psnr'"
    )
    scores.set_defaults(command=_scores)

    explore = commands.add_parser(
        "explore", help="write a run's two linked maps, faces and clips as one HTML page"
    )
    explore.add_argument("run", metavar="RUN", help="as in runs/demo")
    explore.add_argument("--out", metavar="FILE.html", help="(default: RUN/explorer.html)")
    explore.add_argument(
        "--points",
        type=int,
        default=0,
        metavar="N",
        help="map N frames anew (default: the maps that the run has)",
    )
    explore.set_defaults(command=_explore)

    dial = commands.add_parser(
        "dial",
        help="write clips beside their edits, with emotion and intensity to turn, as one HTML page",
    )
    dial.add_argument("run", metavar="RUN", help="as in runs/demo")
    dial.add_argument(
        "--clip",
        metavar="FILE",
        help="a video of one face, up to 10 seconds (default: clips of the run)",
    )
    dial.add_argument(
        "--text",
        action="append",
        default=[],
        help="an emotion in words, as cdrl edit takes it; repeatable",
    )
    dial.add_argument(
        "--reference",
        action="append",
        default=[],
        metavar="FILE",
        help="a video to take the emotion from; repeatable",
    )
    dial.add_argument(
        "--generator",
        metavar="RUN",
        help="another run's, or weights: action_renderer edits by facial actions (default: RUN's own)",
    )
    dial.add_argument("--out", metavar="FILE.html", help="(default: RUN/dial.html)")
    dial.set_defaults(command=_dial)

    add_edit_command(commands)

    train = commands.add_parser(
        "train", help="make a committed network again; without a name: list them"
    )
    train.add_argument("name", metavar="NAME", nargs="?")
    train.add_argument(
        "--out",
        default=str(repository_root() / "data" / "weights"),
        help="folder (default: data/weights)",
    )
    train.add_argument(
        "--cards",
        action="store_true",
        help="train nothing: write README.md of that folder from the cards in it",
    )
    train.add_argument(
        "--work", default="runs/train", help="folder of the checkpoints (default: runs/train)"
    )
    train.set_defaults(command=_train)

    study = commands.add_parser(
        "study", help="all rows of the comparison over seeds; hours, resumable"
    )
    study.add_argument(
        "--out",
        default="results/study",
        metavar="FOLDER",
        help="the tables (default: results/study)",
    )
    study.add_argument(
        "--work",
        default="runs/study",
        metavar="FOLDER",
        help="corpora, features, jobs (default: runs/study)",
    )
    study.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="as in seeds=1 or half=edit; repeatable",
    )
    study.set_defaults(command=_study)

    data = commands.add_parser(
        "data",
        help="corpora on disk: check ROOT, ingest ROOT into a crop store, studio clips as files",
    )
    add_data_commands(data.add_subparsers(required=True, metavar="ACTION"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
