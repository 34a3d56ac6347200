"""Notebook 00: clips, crops and truth."""

import importlib.util
from pathlib import Path

import numpy as np
import torch

from cdrl.core.errors import InputError
from cdrl.core.pools import beside, kept_workers
from cdrl.core.settings import CorpusConfig, stage_folder
from cdrl.corpora import samples
from cdrl.corpora.store import Store
from cdrl.media import faces
from cdrl.stages.s00_real_corpus import build_real
from cdrl.studio import calibration, edits
from cdrl.studio import corpus as studio
from cdrl.studio.acting import ClipSpec
from cdrl.studio.render import LANDMARKS

DRIVE = "/content/drive"
STORES = ("train", "report", "edits", "real")
PERCENT = 100


def start(drive: bool = False) -> str:
    """Describe the device in one line; mount Google Drive first where that is wanted.

    Args:
        drive: mount Google Drive, in Colab.

    Raises:
        InputError: `drive` outside Colab.
    """
    where = ""
    if drive:
        _mount_drive()
        where = f"; Drive is at {DRIVE}"

    version = torch.__version__
    if torch.cuda.is_available():
        device = torch.cuda.get_device_name(0)
        return f"torch {version} on {device}: priors and training use it, in half precision{where}"

    return f"torch {version} on the CPU, in single precision: no GPU was found{where}"


def _mount_drive() -> None:
    """Mount Google Drive where it is not mounted yet."""
    has_google = importlib.util.find_spec("google") is not None
    if not has_google or importlib.util.find_spec("google.colab") is None:
        raise InputError(
            "drive=True: Google Drive can be mounted in Colab only; "
            "name a folder of this machine instead"
        )

    if not Path(DRIVE).exists():
        from google.colab import drive as colab_drive

        colab_drive.mount(DRIVE)


def build_corpus(run: Path, config: CorpusConfig, out: Path) -> dict[str, float]:
    """Notebook 00: render training and reporting people and true edits, ingest the sample clips.

    A corpus that is not generated is built by `build_real`.

    Args:
        run: folder of the run.
        config: the stage's settings.
        out: the stage's folder.

    Returns:
        `corpus.*`: how hard the studio is, from its truth, and clips left out; `crop.*`: how far
        the crops are off.
    """
    if config.corpus != "studio":
        return build_real(run, config, out)

    train, report = list_clips(config)
    # One pool for all: to start its processes and paint the people again takes them seconds.
    with (
        kept_workers(config.workers),
        beside(calibration.corpus_scores, [(report,)], config.workers) as calibrated,
    ):
        for name in STORES:
            if not (out / name / "store.json").exists():
                _make_store(name, out, config, train, report)

    stores = {name: Store(out / name) for name in STORES}
    scores: dict[str, float] = {}
    for name, store in stores.items():
        scores[f"corpus.{name}_clips"] = len(store.clips)

    rendered = len(stores["train"].clips) + len(stores["report"].clips)
    scores["corpus.rejected_clips"] = len(train) + len(report) - rendered

    [corpus_scores] = calibrated
    return scores | corpus_scores | crop_scores(stores["report"])


def list_clips(config: CorpusConfig) -> tuple[list[ClipSpec], list[ClipSpec]]:
    """List the studio's clips of the training and of the reporting people; nothing is rendered.

    Args:
        config: the stage's settings.

    Raises:
        InputError: for more people, sentences or clips than there are.
    """
    return _training_clips(config), _reporting_clips(config)


def _training_clips(config: CorpusConfig) -> list[ClipSpec]:
    """List the clips of the training people."""
    split = "smoke_train" if config.speech == "cached" else "train"
    return studio.specs(
        split,
        people=config.train_people,
        clips=config.train_clips,
        seed=config.seed,
        version=config.studio_version,
    )


def _reporting_clips(config: CorpusConfig) -> list[ClipSpec]:
    """List the clips of the people who fit the probes, and of some of those who score."""
    split = "smoke_report" if config.speech == "cached" else "report"
    clips = studio.specs(
        split,
        people=config.report_people,
        sentences=config.report_sentences,
        version=config.studio_version,
    )
    first_person = clips[0].person

    fitting_sentences = {clip.sentence for clip in clips if clip.person == first_person}
    scoring = {clip.person for clip in clips if clip.sentence not in fitting_sentences}
    left_out = sorted(scoring)[config.report_score_people :]

    return [clip for clip in clips if clip.person not in left_out]


def _make_store(
    name: str, out: Path, config: CorpusConfig, train: list[ClipSpec], report: list[ClipSpec]
) -> None:
    """Make one of the stage's stores."""
    path = out / name
    sizes = (config.frame_size, config.crop_size, config.workers)
    if name == "train":
        studio.generate(train, path, name, *sizes, crop=config.crop)
    elif name == "report":
        studio.generate(report, path, name, *sizes, crop=config.crop)
    elif name == "edits":
        sources = Store(out / "report")
        requests = edits.draw_edits(sources, config.edits, config.seed)
        edits.generate_edits(sources, requests, path, *sizes)
    else:
        samples.ingest_crema_d(samples.sample_paths(), path, config.crop_size, config.crop)


def crop_scores(store: Store) -> dict[str, float]:
    """Measure how far crops are from where the true landmarks would put them.

    Args:
        store: of generated clips.

    Returns:
        Mean and 95th percentile of `crop.eyes_percent`, `crop.mouth_percent` and
        `crop.offset_percent`, in percent of the distance between the eyes. The released crop has
        no nominal position of the eyes, so it has no offset.
    """
    names = ["eyes", "mouth"]
    if store.crop == "aligned":
        names.append("offset")

    errors = [_alignment_error(store, clip) for clip in range(len(store.clips))]
    scores = {}
    for name in names:
        errors_of_clips = [np.atleast_1d(error[name]) for error in errors]
        values = np.concatenate(errors_of_clips) * PERCENT
        scores[f"crop.{name}_percent"] = float(values.mean())
        scores[f"crop.{name}_percent.p95"] = float(np.quantile(values, 0.95))

    return scores


def _alignment_error(store: Store, clip: int) -> dict[str, np.ndarray]:
    """Compare the crops of one clip with its true landmarks, see `faces.alignment_error`."""
    rows = store.frames(clip)
    transforms = np.asarray(store.transforms[rows], np.float64)

    landmarks = store.truth["landmarks"][rows].astype(np.float64)
    in_pixels = landmarks * faces.CROP_SIZE
    rotated = np.einsum("tij,tlj->tli", transforms[:, :, :2], in_pixels)
    frame_landmarks = rotated + transforms[:, None, :, 2]

    alignment = faces.Alignment(transforms, np.zeros(4))
    return faces.alignment_error(alignment, frame_landmarks, LANDMARKS)


def has_truth(run: Path) -> bool:
    """Whether a run's reporting clips have true visemes, coefficients and edits.

    Args:
        run: folder of the run.
    """
    report = Store(stage_folder(run, "corpus") / "report")
    return "viseme" in report.truth
