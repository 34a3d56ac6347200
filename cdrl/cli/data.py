"""The `cdrl data` commands: check a corpus on disk, ingest it, write studio clips as files."""

import argparse
from pathlib import Path

import pandas as pd

from cdrl.core.errors import InputError, printable
from cdrl.core.files import check_disk
from cdrl.core.settings import IngestConfig
from cdrl.core.tables import refuse_other_encoding
from cdrl.corpora.check import HEADER_SAMPLE, describe_changes, describe_corpus, read_headers
from cdrl.corpora.ingest import ingest as ingest_corpus
from cdrl.corpora.ingest import pieces_of
from cdrl.corpora.ingest_cost import describe_cost, expected_cost
from cdrl.corpora.manifest import add_sums, compare, load_manifest, save_manifest
from cdrl.corpora.scan import scan
from cdrl.corpora.splits import describe_split, split_for
from cdrl.corpora.store_sums import CARD, describe_sums
from cdrl.corpora.store_writer import partial_of
from cdrl.studio.layouts import write_layout


def check(arguments: argparse.Namespace) -> None:
    """Print what a folder holds, and write or compare its manifest; of a store, check its sums.

    Args:
        arguments: of the command.

    Raises:
        InputError: where a manifest should be written over one that says otherwise, and for a
            store whose files are not as they were written.
    """
    root = Path(arguments.root)
    refuse_other_encoding(root, "ROOT")
    if (root / CARD).exists():
        print(describe_sums(root))
        return
    corpus = scan(root, arguments.corpus, arguments.template)
    file = Path(arguments.manifest or f"runs/manifests/{corpus.corpus}.parquet")
    saved = load_manifest(file) if file.exists() else None
    split = split_for(arguments.split, corpus.clips) if arguments.split else None

    clips = corpus.clips
    if arguments.sums:
        clips = add_sums(root, clips, file.with_suffix(".sums.jsonl"))
    sample = 0 if arguments.probe else HEADER_SAMPLE
    _, remarks = read_headers(root, clips, sample)
    corpus.remarks.extend(remarks)

    changes: dict[str, list[str]] = {}
    change_lines: list[str] = []
    if saved is not None:
        changes = compare(clips, saved)
        has_sums = arguments.sums and bool((saved["sha256"] != "").all())
        change_lines = describe_changes(changes, file, has_sums)

    lines = describe_corpus(corpus, change_lines)
    if split is not None:
        split_lines = describe_split(arguments.split, split, clips)
        lines += [printable(line) for line in split_lines]
    cost = describe_cost(clips, root, IngestConfig(), arguments.frames_per_second)
    lines.append(f"ingest: {cost}")
    print("\n".join(lines))

    if arguments.write:
        if any(changes.values()):
            raise InputError(
                f"{file} says otherwise, as printed above: remove it or give another --manifest to "
                "write"
            )
        # An equal manifest is not written again without sums: the saved one may have them.
        if saved is None or arguments.sums:
            _save_manifest(clips, file, arguments.sums)


def _save_manifest(clips: pd.DataFrame, file: Path, has_sums: bool) -> None:
    """Write a manifest and say where it is."""
    save_manifest(clips, file)
    sums = "with sums" if has_sums else "without sums"
    print(f"manifest: {file}, {sums}")


def ingest(arguments: argparse.Namespace) -> None:
    """Crop the face of every clip of a corpus into a store.

    Args:
        arguments: of the command.

    Raises:
        InputError: where the root is no folder.
    """
    root = Path(arguments.root)
    out = Path(arguments.out)
    refuse_other_encoding(root, "ROOT")
    refuse_other_encoding(out, "--out")
    if not root.is_dir():
        raise InputError(f"{root}: not a folder; give the one that holds the corpus")
    config = IngestConfig(
        frame_rate=arguments.fps,
        crop=arguments.crop,
        crop_size=arguments.crop_size,
        detector=arguments.detector,
        boxes=arguments.boxes,
        require_sound=not arguments.allow_silent,
        workers=arguments.workers,
        cluster=arguments.cluster,
        limit_seconds=arguments.limit,
    )

    clips = _manifest(arguments)
    needed_gb = expected_cost(clips, root, config).disk_gb
    check_disk(out.parent, needed_gb, done=[pieces_of(out), partial_of(out)])
    num_sounds = int((clips["path"] == "").sum())
    sounds = f", {num_sounds} of them sound alone and left out" if num_sounds else ""
    cost = describe_cost(clips, root, config)
    print(
        f"{len(clips)} clips{sounds} into {out}: {cost}; Ctrl-C is safe, the same command resumes",
        flush=True,
    )

    result = ingest_corpus(clips, root, out, config)
    print(
        f"{result.clips} clips in, {len(result.rejected)} left out: reasons in {out}/report.html "
        "and rejected.csv"
    )


def _manifest(arguments: argparse.Namespace) -> pd.DataFrame:
    """The clips of a manifest file, else those that the folder's names describe."""
    if arguments.manifest:
        return load_manifest(Path(arguments.manifest))
    return scan(Path(arguments.root), arguments.corpus, arguments.template).clips


def studio(arguments: argparse.Namespace) -> None:
    """Write studio clips in the folders of a real corpus.

    Args:
        arguments: of the command.
    """
    out = Path(arguments.out)
    files = write_layout(
        arguments.layout,
        out,
        arguments.people,
        arguments.sentences,
        arguments.size,
        level=arguments.level,
        version=arguments.version,
    )
    print(
        f"{len(files)} files in {out}, laid out as {arguments.layout}; everybody in them is "
        "rendered"
    )
