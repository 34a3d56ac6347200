"""Notebook 00: clips, crops and truth."""

import importlib.util
from pathlib import Path

import numpy as np

from cdrl.core.errors import InputError
from cdrl.core.settings import stage_folder
from cdrl.corpora import samples
from cdrl.corpora.store import Store
from cdrl.media import faces
from cdrl.stages.s00_real_corpus import build_real
from cdrl.studio import calibration, edits
from cdrl.studio import corpus as studio
from cdrl.studio.render import LANDMARKS

DRIVE = "/content/drive"


def start(drive: bool = False) -> str:
    """One line about the device; with `drive`, Google Drive is mounted first.

    Does nothing else anywhere, asks nothing, and needs no widget.

    Raises:
        InputError: `drive` outside Colab.
    """
    import torch

    where = ""
    if drive:
        if (
            importlib.util.find_spec("google") is None
            or importlib.util.find_spec("google.colab") is None
        ):
            raise InputError(
                "drive=True: Google Drive can be mounted in Colab only; name a folder of this machine instead"
            )
        if not Path(DRIVE).exists():
            from google.colab import drive as colab

            colab.mount(DRIVE)
        where = f"; Drive is at {DRIVE}"
    if torch.cuda.is_available():
        return f"torch {torch.__version__} on {torch.cuda.get_device_name(0)}: priors and training use it, in half precision{where}"
    return f"torch {torch.__version__} on the CPU, in single precision: no GPU was found{where}"


def build_corpus(run: Path, config, out: Path) -> dict:
    """Notebook 00: render the training and the reporting people, the true edits for the evaluation, ingest the real clips.

    Of a corpus that is not generated: `build_real`.

    Returns:
        corpus.*: how hard the studio is, from its truth; crop.*: how far the crops are off; what was rejected.
    """
    if config.corpus != "studio":
        return build_real(run, config, out)
    smoke = config.speech == "cached"
    train = studio.specs(
        "smoke_train" if smoke else "train",
        people=config.train_people,
        clips=config.train_clips,
        seed=config.seed,
    )
    report = studio.specs(
        "smoke_report" if smoke else "report",
        people=config.report_people,
        sentences=config.report_sentences,
    )
    first_half = {spec.sentence for spec in report if spec.person == report[0].person}
    scoring = sorted({spec.person for spec in report if spec.sentence not in first_half})
    report = [spec for spec in report if spec.person not in scoring[config.report_score_people :]]
    sizes = (config.frame_size, config.crop_size, config.workers)
    made = {
        "train": lambda path: studio.generate(train, path, "train", *sizes, crop=config.crop),
        "report": lambda path: studio.generate(report, path, "report", *sizes, crop=config.crop),
        "edits": lambda path: _make_edits(out, config, path),
        "real": lambda path: samples.ingest(
            samples.sample_paths(), path, config.crop_size, config.crop
        ),
    }
    for name, make in made.items():
        if not (out / name / "store.json").exists():
            make(out / name)
    stores = {name: Store(out / name) for name in made}
    counts = {f"corpus.{name}_clips": len(store.clips) for name, store in stores.items()}
    counts["corpus.rejected_clips"] = (
        len(train) + len(report) - len(stores["train"].clips) - len(stores["report"].clips)
    )
    return counts | calibration.corpus_scores(report) | crop_scores(stores["report"])


def _make_edits(out: Path, config, path: Path) -> None:
    report = Store(out / "report")
    edits.generate_edits(
        report,
        edits.draw_edits(report, config.edits, config.seed),
        path,
        config.frame_size,
        config.crop_size,
        config.workers,
    )


def crop_scores(store: Store) -> dict:
    """How far the crops are from where the truth would put them, in percent of the distance between the eyes.

    `crop.offset` is missing where the crop has no nominal place for the eyes: the released one has none.
    """
    found = []
    for clip in range(len(store.clips)):
        rows = store.frames(clip)
        transforms = np.asarray(store.transforms[rows], np.float64)
        pixels = store.truth["landmarks"][rows].astype(np.float64) * faces.CROP
        pixels = np.einsum("tij,tlj->tli", transforms[:, :, :2], pixels) + transforms[:, None, :, 2]
        found.append(
            faces.alignment_error(faces.Alignment(transforms, np.zeros(4)), pixels, LANDMARKS)
        )
    errors = {
        name: np.concatenate([np.atleast_1d(e[name]) for e in found]) * 100
        for name in ("eyes", "mouth", "offset")
    }
    return {
        f"crop.{name}_percent{part}": float(value)
        for name, values in errors.items()
        if name != "offset" or store.crop == "aligned"
        for part, value in (("", values.mean()), (".p95", np.quantile(values, 0.95)))
    }


def has_truth(run: Path) -> bool:
    """Whether the reporting store of a run knows visemes, coefficients and true edits: only a generated corpus does."""
    return "viseme" in Store(stage_folder(run, "corpus") / "report").truth
