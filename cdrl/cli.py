"""The one console command, thin over the package. Heavy imports wait inside the commands; --help is immediate."""

import argparse
import os
import shutil
import sys
from pathlib import Path

from cdrl.config import COSTS, PRESETS, STAGES, repository_root, stage_config
from cdrl.errors import InputError
from cdrl.stage import all_scores, finish_run, read_results, score_lines
from cdrl.vocabulary import EMOTIONS, emotion_index


def main(arguments=None):
    """Runs one command.

    Args:
        arguments: list of words, as in ["run", "--preset", "smoke"]; None for the process's own.

    Returns:
        Exit status: 0, 1 for a fault of the kit, 2 for input that cannot be used (one line on stderr says why),
        130 for Ctrl-C.
    """
    try:
        chosen = _parser().parse_args(arguments)
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


def check_disk(folder, needed_gb):
    """Refuses to begin where the disk will be full before the end; what lies in the folder already counts.

    Raises:
        InputError: naming the folder, what is free and what is needed.
    """
    folder = Path(folder)
    held = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e9 if folder.exists() else 0.0
    existing = next(place for place in [folder, *folder.resolve().parents] if place.exists())
    free = shutil.disk_usage(existing).free / 1e9
    if free + held < needed_gb:
        raise InputError(
            f"{folder}: {free:.1f} GB of disk are free, {needed_gb - held:.1f} GB are needed: free some, or choose "
            "another --out or a smaller --preset"
        )


def _doctor(chosen):
    from cdrl.doctor import examine, lines

    findings = examine()
    print("\n".join(lines(findings)))
    return int(any(finding.required and not finding.present for finding in findings))


def _run(chosen):
    settings = parse_settings(chosen.set)
    if chosen.corpus:
        settings["corpus.corpus"] = chosen.corpus
    _check_corpus(chosen.preset, settings)
    from cdrl.notebook_runner import NotebookError, notebooks, plan, run_notebooks

    run = _in_clone(Path(chosen.out or f"runs/{chosen.preset}"))
    out = repository_root() / run
    parameters = plan(notebooks(), run, chosen.preset, settings)
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
        raise InputError(f"no score of {chosen.run} matches {chosen.pattern!r}: cdrl scores {chosen.run} lists all")
    print("\n".join(lines))


def _edit(chosen):
    emotion_index(chosen.emotion)
    source, out = Path(chosen.source), Path(chosen.out)
    if not source.is_file():
        raise InputError(f"{source}: no such video file")
    if out.suffix != ".mp4":
        raise InputError(f"--out {out}: the edited video is an .mp4 file, as in --out {out.with_suffix('.mp4').name}")
    if out.exists() and out.samefile(source):
        raise InputError(f"--out {out}: is the source itself; choose another name")
    check_disk(out.parent, 0.1)
    from cdrl.generation.edit import GENERATOR, edit_video, fit_to_folder, load_generator

    generator = load_generator(chosen.generator or GENERATOR)
    if chosen.fit:
        generator = fit_to_folder(generator, Path(chosen.fit), source, chosen.emotion)
    edit_video(source, chosen.emotion, out, chosen.intensity, generator)
    print(out)


def _train(chosen):
    from cdrl.recipes import RECIPES

    if not chosen.name:
        for name, recipe in RECIPES.items():
            print(f"{name}: {recipe.__doc__.splitlines()[0]}")
        return
    if chosen.name not in RECIPES:
        raise InputError(f"unknown network {chosen.name!r}: accepted are {', '.join(RECIPES)}")
    card = RECIPES[chosen.name](out=Path(chosen.out), work=Path(chosen.work) / chosen.name)
    print("\n".join(score_lines(card["scores"])))


def _study(chosen):
    from cdrl.config import StudyConfig, from_dict

    settings = {name.removeprefix("study."): value for name, value in parse_settings(chosen.set).items()}
    config = from_dict(StudyConfig, settings)
    check_disk(Path(chosen.work), 20 if config.speech == "espeak" else 1)
    from cdrl.pipeline.study import run_study

    results = run_study(Path(chosen.out), Path(chosen.work), config)
    print("\n".join(score_lines(all_scores(results), "control.inside")))
    print(f"tables: {chosen.out}, scores: cdrl scores {chosen.out}")


def _data_check(chosen):
    from cdrl.data.check import FRAMES_PER_SECOND, SAMPLE, change_lines, probe, report
    from cdrl.data.manifest import add_sums, compare, load_manifest, save_manifest
    from cdrl.data.scan import scan
    from cdrl.data.splits import split_for, split_lines

    root, speed = Path(chosen.root), FRAMES_PER_SECOND if chosen.frames_per_second is None else chosen.frames_per_second
    if speed <= 0:
        raise InputError(f"--frames-per-second {speed:g}: a number above 0 is needed")
    found = scan(root, chosen.corpus, chosen.template)
    file = Path(chosen.manifest or f"runs/manifests/{found.corpus}.parquet")
    saved = load_manifest(file) if file.exists() else None
    split = split_for(chosen.split, found.clips) if chosen.split else None
    clips = add_sums(root, found.clips, file.with_suffix(".sums.jsonl")) if chosen.sums else found.clips
    seconds, remarks = probe(root, clips, 0 if chosen.probe else SAMPLE)
    found.remarks.extend(remarks)
    changes = {} if saved is None else compare(clips, saved)
    summed = saved is not None and chosen.sums and (saved["sha256"] != "").all()
    lines = change_lines(changes, file, summed) if changes else []
    lines = report(found, seconds, speed, lines) + (split_lines(chosen.split, split, clips) if split else [])
    print("\n".join(lines))
    if chosen.write and any(changes.values()):
        raise InputError(f"{file} says otherwise, as printed above: remove it or give another --manifest to write")
    if chosen.write and (saved is None or chosen.sums):  # else it says the same already, and may have sums
        save_manifest(clips, file)
        print(f"manifest: {file}, {'with' if chosen.sums else 'without'} sums")


def _data_ingest(chosen):
    from cdrl.config import IngestConfig
    from cdrl.data.ingest import expected_cost, ingest

    root, out, workers = Path(chosen.root), Path(chosen.out), chosen.workers
    if not root.is_dir():
        raise InputError(f"{root}: not a folder; give the one that holds the corpus")
    config = IngestConfig(
        frame_rate=chosen.fps, crop_size=chosen.crop_size, detector=chosen.detector, boxes=chosen.boxes,
        require_sound=not chosen.allow_silent, workers=workers, limit_seconds=chosen.limit,
    )  # fmt: skip
    clips = _clips_of(chosen)
    frames, minutes, disk_gb = expected_cost(clips, root, config)
    print(
        f"{len(clips)} clips into {out}: about {frames} frames, {minutes:.1f} minutes on {workers or 1} idle cores, "
        f"{disk_gb:.2f} GB of disk at most and half of it in the end; Ctrl-C is safe, the same command resumes",
        flush=True,
    )
    check_disk(out.parent, disk_gb)
    done = ingest(clips, root, out, config)
    print(f"{done.clips} clips in, {len(done.rejected)} left out: reasons in {out}/report.html and rejected.csv")


def _clips_of(chosen):
    """The manifest: a file's, else what the folder's names say."""
    if chosen.manifest:
        from cdrl.data.manifest import load_manifest

        return load_manifest(Path(chosen.manifest))
    from cdrl.data.scan import scan

    return scan(Path(chosen.root), chosen.corpus, chosen.template).clips


def _data_studio(chosen):
    from cdrl.data.studio.layouts import write_layout

    files = write_layout(chosen.layout, Path(chosen.out), chosen.people, chosen.sentences, chosen.size)
    print(f"{len(files)} files in {chosen.out}, laid out as {chosen.layout}; everybody in them is rendered")


def _check_corpus(preset, settings):
    """A corpus root that is not there is refused before anything runs."""
    stage_settings = {name: value for name, value in settings.items() if name.startswith("corpus.")}
    config = stage_config("corpus", preset, stage_settings)
    if config.data_root and not Path(config.data_root).is_dir():
        raise InputError(
            f"corpus {config.corpus}: corpus.data_root={config.data_root} is not a folder: give the folder that holds "
            "the corpus, --set corpus.data_root=FOLDER"
        )
    if config.data_root:
        settings["corpus.data_root"] = str(Path(config.data_root).resolve())


def _in_clone(path):
    """Relative to the clone where it lies in it, so that the executed notebooks name no home folder."""
    path, root = path.resolve(), repository_root()
    return path.relative_to(root) if path.is_relative_to(root) else path


def _number_of_notebook(text):
    if text not in [f"{number:02d}" for number in range(len(STAGES))]:
        raise argparse.ArgumentTypeError(f"{text}: two digits from 00 to {len(STAGES) - 1:02d} are accepted")
    return text


class _OneLineParser(argparse.ArgumentParser):
    """Reports a word it cannot read as every other bad input is reported."""

    def error(self, message):
        raise InputError(f"{message} (see {self.prog} --help)")


def _parser():
    parser = _OneLineParser(prog="cdrl", description="Edit the emotion of talking heads: CCRL, CERL, SPFEM.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    doctor = commands.add_parser("doctor", help="versions, device, weights and corpora; what each missing piece needs")
    doctor.set_defaults(command=_doctor)

    run = commands.add_parser("run", help="run the notebooks in order; resumes")
    run.add_argument("--preset", default="cpu", choices=PRESETS)
    run.add_argument("--corpus", help="studio (generated, the default) or another corpus; see corpus.data_root")
    run.add_argument("--out", help="folder of the run (default: runs/PRESET)", metavar="FOLDER")
    run.add_argument(
        "--from", dest="first", type=_number_of_notebook, metavar="NN", help="begin with notebook NN again"
    )
    run.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="as in content.steps=200; repeatable"
    )
    run.set_defaults(command=_run)

    scores = commands.add_parser("scores", help="print the scores of a run as `name value` lines")
    scores.add_argument("run", metavar="RUN", help="as in runs/demo")
    scores.add_argument("pattern", metavar="PATTERN", nargs="?", default="", help="as in content or 'spfem.*.psnr'")
    scores.set_defaults(command=_scores)

    edit = commands.add_parser("edit", help="edit the emotion of one video; the sound stays")
    edit.add_argument("source", metavar="SOURCE", help="a video file with one face and sound")
    edit.add_argument("--emotion", required=True, help=", ".join(EMOTIONS))
    edit.add_argument("--intensity", type=float, default=1.0, help="0 changes nothing, 1 is strong (default 1)")
    edit.add_argument(
        "--generator", metavar="RUN", help="folder of a run, or weights (default: the committed generator)"
    )
    edit.add_argument("--out", required=True, metavar="OUT.mp4")
    edit.add_argument("--fit", metavar="FOLDER", help="first fit to this person's clips there, named as CREMA-D's")
    edit.set_defaults(command=_edit)

    train = commands.add_parser("train", help="make a committed network again; without a name: list them")
    train.add_argument("name", metavar="NAME", nargs="?")
    train.add_argument(
        "--out", default=str(repository_root() / "data" / "weights"), help="folder (default: data/weights)"
    )
    train.add_argument("--work", default="runs/train", help="folder of the checkpoints (default: runs/train)")
    train.set_defaults(command=_train)

    study = commands.add_parser("study", help="all rows of the comparison over seeds; hours, resumable")
    study.add_argument("--out", default="results/study", metavar="FOLDER", help="the tables (default: results/study)")
    study.add_argument("--work", default="runs/study", metavar="FOLDER", help="corpora, features, jobs (default: runs/study)")
    study.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="as in seeds=1; repeatable")
    study.set_defaults(command=_study)

    data = commands.add_parser("data", help="corpora on disk: check ROOT, ingest ROOT into a crop store, studio clips as files")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    check = actions.add_parser("check", help="what a folder holds: clips, gaps, odd files, what an ingest will cost")
    check.add_argument("root", metavar="ROOT", help="folder of MEAD, RAVDESS, CREMA-D or of any videos")
    check.add_argument("--corpus", default="", help="mead, ravdess, crema-d, folder (default: told by the names)")
    check.add_argument("--template", default="", help="of a folder, as {speaker}/{emotion}/{sentence}_{take}")
    check.add_argument("--manifest", metavar="FILE", help="compare with it (default: runs/manifests/CORPUS.parquet)")
    check.add_argument("--write", action="store_true", help="write the manifest")
    check.add_argument("--sums", action="store_true", help="SHA-256 of every file; resumes")
    check.add_argument("--probe", action="store_true", help="open every file's header, not a sample's")
    check.add_argument("--split", default="", metavar="NAME", help="strict, or as in data/splits: what it makes of ROOT")
    check.add_argument("--frames-per-second", type=float, help="of an ingest on one core (default 60)")
    check.set_defaults(command=_data_check)
    _add_data_ingest(actions)
    _add_data_studio(actions)
    return parser


def _add_data_ingest(actions):
    ingest = actions.add_parser("ingest", help="every clip of a corpus, face cropped, into a crop store; resumes")
    ingest.add_argument("root", metavar="ROOT", help="folder of MEAD, RAVDESS, CREMA-D or of any videos")
    ingest.add_argument("--corpus", default="", help="mead, ravdess, crema-d, folder (default: told by the names)")
    ingest.add_argument("--template", default="", help="of a folder, as {speaker}/{emotion}/{sentence}_{take}")
    ingest.add_argument("--manifest", metavar="FILE", help="one that cdrl data check wrote, in place of --corpus")
    ingest.add_argument("--out", required=True, metavar="STORE", help="folder of the crop store")
    ingest.add_argument("--fps", type=_positive, default=25.0, help="frames a second (default 25; the paper has 30)")
    ingest.add_argument("--crop-size", type=int, default=96, help="pixels a side (default 96)")
    ingest.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    ingest.add_argument("--detector", default="embedded", help="mediapipe, facenet-pytorch, module:function (default embedded)")
    ingest.add_argument("--boxes", default="", metavar="FOLDER", help="faces found before: NAME.csv or .npz for each clip")
    ingest.add_argument("--allow-silent", action="store_true", help="take clips without sound too")
    ingest.add_argument("--limit", type=_positive, default=600.0, metavar="SECONDS", help="for one clip (default 600)")
    ingest.set_defaults(command=_data_ingest)


def _positive(text):
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: a number above 0 is needed")
    return number


def _add_data_studio(actions):
    studio = actions.add_parser("studio", help="rendered people as video and sound files in a real corpus's folders")
    studio.add_argument("--layout", required=True, metavar="NAME", help="mead, ravdess or crema-d")
    studio.add_argument("--out", required=True, metavar="FOLDER")
    studio.add_argument("--people", type=int, default=2, help="1 to 4 (default 2)")
    studio.add_argument("--sentences", type=int, default=2, help="default 2; more need espeak-ng")
    studio.add_argument("--size", type=int, default=256, help="pixels a side (default 256)")
    studio.set_defaults(command=_data_studio)


if __name__ == "__main__":
    sys.exit(main())
