"""The `cdrl data` commands: check a corpus on disk, ingest it, write studio clips as files."""

import argparse
from pathlib import Path

from cdrl.core.errors import InputError
from cdrl.core.files import check_disk


def add_data_commands(actions):
    """Adds check, ingest and studio to the parser of `cdrl data`."""
    _add_data_check(actions)
    _add_data_ingest(actions)
    _add_data_studio(actions)


def _data_check(chosen):
    from cdrl.core.settings import IngestConfig
    from cdrl.corpora.check import SAMPLE, change_lines, probe, report
    from cdrl.corpora.ingest import cost_words
    from cdrl.corpora.manifest import add_sums, compare, load_manifest, save_manifest
    from cdrl.corpora.scan import scan
    from cdrl.corpora.splits import split_for, split_lines

    root = Path(chosen.root)
    found = scan(root, chosen.corpus, chosen.template)
    file = Path(chosen.manifest or f"runs/manifests/{found.corpus}.parquet")
    saved = load_manifest(file) if file.exists() else None
    split = split_for(chosen.split, found.clips) if chosen.split else None
    clips = (
        add_sums(root, found.clips, file.with_suffix(".sums.jsonl")) if chosen.sums else found.clips
    )
    _, remarks = probe(root, clips, 0 if chosen.probe else SAMPLE)
    found.remarks.extend(remarks)
    changes = {} if saved is None else compare(clips, saved)
    summed = saved is not None and chosen.sums and (saved["sha256"] != "").all()
    lines = change_lines(changes, file, summed) if changes else []
    lines = report(found, lines) + (split_lines(chosen.split, split, clips) if split else [])
    lines.append(f"ingest: {cost_words(clips, root, IngestConfig(), chosen.frames_per_second)}")
    print("\n".join(lines))
    if chosen.write and any(changes.values()):
        raise InputError(
            f"{file} says otherwise, as printed above: remove it or give another --manifest to write"
        )
    if chosen.write and (
        saved is None or chosen.sums
    ):  # else it says the same already, and may have sums
        save_manifest(clips, file)
        print(f"manifest: {file}, {'with' if chosen.sums else 'without'} sums")


def _data_ingest(chosen):
    from cdrl.core.settings import IngestConfig
    from cdrl.corpora.ingest import cost_words, expected_cost, ingest

    root, out, workers = Path(chosen.root), Path(chosen.out), chosen.workers
    if not root.is_dir():
        raise InputError(f"{root}: not a folder; give the one that holds the corpus")
    config = IngestConfig(
        frame_rate=chosen.fps,
        crop=chosen.crop,
        crop_size=chosen.crop_size,
        detector=chosen.detector,
        boxes=chosen.boxes,
        require_sound=not chosen.allow_silent,
        workers=workers,
        limit_seconds=chosen.limit,
    )
    clips = _clips_of(chosen)
    alone = int((clips["path"] == "").sum())
    sounds = f", {alone} of them sound alone and left out" if alone else ""
    print(
        f"{len(clips)} clips{sounds} into {out}: {cost_words(clips, root, config)}; Ctrl-C is safe, the same command resumes",
        flush=True,
    )
    check_disk(out.parent, expected_cost(clips, root, config)[2])
    done = ingest(clips, root, out, config)
    print(
        f"{done.clips} clips in, {len(done.rejected)} left out: reasons in {out}/report.html and rejected.csv"
    )


def _clips_of(chosen):
    """The manifest: a file's, else what the folder's names say."""
    if chosen.manifest:
        from cdrl.corpora.manifest import load_manifest

        return load_manifest(Path(chosen.manifest))
    from cdrl.corpora.scan import scan

    return scan(Path(chosen.root), chosen.corpus, chosen.template).clips


def _data_studio(chosen):
    from cdrl.studio.layouts import write_layout

    files = write_layout(
        chosen.layout,
        Path(chosen.out),
        chosen.people,
        chosen.sentences,
        chosen.size,
        level=chosen.level,
    )
    print(
        f"{len(files)} files in {chosen.out}, laid out as {chosen.layout}; everybody in them is rendered"
    )


def _positive(text):
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}: a number above 0 is needed")
    return number


def _add_data_check(actions):
    check = actions.add_parser(
        "check", help="what a folder holds: clips, gaps, odd files, what an ingest will cost"
    )
    check.add_argument(
        "root", metavar="ROOT", help="folder of MEAD, RAVDESS, CREMA-D or of any videos"
    )
    check.add_argument(
        "--corpus", default="", help="mead, ravdess, crema-d, folder (default: told by the names)"
    )
    check.add_argument(
        "--template", default="", help="of a folder, as {speaker}/{emotion}/{sentence}_{take}"
    )
    check.add_argument(
        "--manifest",
        metavar="FILE",
        help="compare with it (default: runs/manifests/CORPUS.parquet)",
    )
    check.add_argument("--write", action="store_true", help="write the manifest")
    check.add_argument("--sums", action="store_true", help="SHA-256 of every file; resumes")
    check.add_argument(
        "--probe", action="store_true", help="open every file's header, not a sample's"
    )
    check.add_argument(
        "--split",
        default="",
        metavar="NAME",
        help="strict, or as in data/splits: what it makes of ROOT",
    )
    check.add_argument(
        "--frames-per-second",
        type=_positive,
        default=0.0,
        help="of an ingest on one core (default: told by the pictures)",
    )
    check.set_defaults(command=_data_check)


def _add_data_ingest(actions):
    ingest = actions.add_parser(
        "ingest", help="every clip of a corpus, face cropped, into a crop store; resumes"
    )
    ingest.add_argument(
        "root", metavar="ROOT", help="folder of MEAD, RAVDESS, CREMA-D or of any videos"
    )
    ingest.add_argument(
        "--corpus", default="", help="mead, ravdess, crema-d, folder (default: told by the names)"
    )
    ingest.add_argument(
        "--template", default="", help="of a folder, as {speaker}/{emotion}/{sentence}_{take}"
    )
    ingest.add_argument(
        "--manifest", metavar="FILE", help="one that cdrl data check wrote, in place of --corpus"
    )
    ingest.add_argument("--out", required=True, metavar="STORE", help="folder of the crop store")
    ingest.add_argument(
        "--fps", type=_positive, default=25.0, help="frames a second (default 25; the paper has 30)"
    )
    ingest.add_argument(
        "--crop",
        choices=("aligned", "released"),
        default="aligned",
        help="the kit's, or the CDRL release's (default aligned)",
    )
    ingest.add_argument("--crop-size", type=int, default=96, help="pixels a side (default 96)")
    ingest.add_argument("--workers", type=int, default=2, help="processes (default 2)")
    ingest.add_argument(
        "--detector",
        default="embedded",
        help="mediapipe, facenet-pytorch, module:function (default embedded)",
    )
    ingest.add_argument(
        "--boxes",
        default="",
        metavar="FOLDER",
        help="faces found before: NAME.csv or .npz for each clip",
    )
    ingest.add_argument("--allow-silent", action="store_true", help="take clips without sound too")
    ingest.add_argument(
        "--limit",
        type=_positive,
        default=600.0,
        metavar="SECONDS",
        help="for one clip (default 600)",
    )
    ingest.set_defaults(command=_data_ingest)


def _add_data_studio(actions):
    studio = actions.add_parser(
        "studio", help="rendered people as video and sound files in a real corpus's folders"
    )
    studio.add_argument("--layout", required=True, metavar="NAME", help="mead, ravdess or crema-d")
    studio.add_argument("--out", required=True, metavar="FOLDER")
    studio.add_argument("--people", type=int, default=2, help="1 to 4 (default 2)")
    studio.add_argument("--sentences", type=int, default=2, help="default 2; more need espeak-ng")
    studio.add_argument("--size", type=int, default=256, help="pixels a side (default 256)")
    studio.add_argument(
        "--level", type=int, default=0, help="1 to 3 for every clip but neutral (default 0: drawn)"
    )
    studio.set_defaults(command=_data_studio)
