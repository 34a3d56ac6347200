"""Notebooks 00 and 01: clips, crops, truth, and what the frozen priors say of every frame."""

from pathlib import Path

import numpy as np

from cdrl.core.checkpoint import load_card
from cdrl.core.devices import pick_device
from cdrl.core.settings import stage_folder
from cdrl.corpora import samples
from cdrl.corpora.store import Store
from cdrl.media import faces
from cdrl.priors.audio import audio_prior
from cdrl.priors.features import Features, extract
from cdrl.priors.iresnet import vision_prior
from cdrl.priors.language import LanguagePrior
from cdrl.priors.sources import prepare
from cdrl.stages.s00_real_corpus import build_real
from cdrl.studio import calibration, edits
from cdrl.studio import corpus as studio
from cdrl.studio.render import LANDMARKS

STORES = ("train", "report", "real")


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


def source_of(wanted: Store, clip: int) -> str:
    """Name of the clip that true edit number `clip` was made from."""
    return edits.source_of(wanted.clips.name[clip])


def open_features(run: Path, name: str) -> Features:
    """The features of one of a run's stores: train, report or real."""
    return Features(Store(stage_folder(run, "corpus") / name), stage_folder(run, "priors") / name)


def load_priors(config) -> dict:
    """The priors of a `PriorsConfig`, their weights found or fetched first; the keywords that `extract` takes.

    Raises:
        InputError: one line for each that is missing, or what is wrong with one.
    """
    prepare(config)
    device = str(pick_device(config.device))
    return {
        "audio": audio_prior(
            config.audio, config.audio_layer, config.audio_windows, config.weights, device
        ),
        "language": LanguagePrior(config.language, config.weights),
        "vision": vision_prior(config.vision, config.weights),
        "device": device,
    }


def extract_priors(run: Path, config, out: Path) -> dict:
    """Notebook 01: what the frozen priors say of every frame, and how good they are on people they never saw.

    Returns:
        prior.*: held-out scores of the embedded priors, from their cards.
    """
    priors, shared = load_priors(config), config.features or None
    for name in STORES:
        extract(
            Store(stage_folder(run, "corpus") / name),
            out / name,
            batch=config.batch,
            shared=shared,
            **priors,
        )
    names = ["face_backbone", "mouth_backbone"] if config.vision == "embedded" else []
    names += ["audio_prior"] if config.audio == "embedded" else []
    names += ["language_prior"] if config.language == "embedded" else []
    return {
        f"prior.{name}.{key}": value
        for name in names
        for key, value in load_card(name)["scores"].items()
        if "." not in key or key.endswith("chance")
    }
