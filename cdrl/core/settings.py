"""Settings: one frozen dataclass per stage, checked by pydantic before any work begins.

A setting exists once. Its default, its range and its meaning are here; the preset `cpu` uses the
defaults, the other presets (`cdrl.core.presets`) list what differs, and
`cdrl run --set stage.field=value` comes last.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, fields
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo

from cdrl.core.cluster_address import check_cluster
from cdrl.core.errors import InputError
from cdrl.core.former_names import former_spelling, renamed_setting
from cdrl.core.presets import IMAGE_EDITOR, PRESETS
from cdrl.core.user_code import INTERFACES, KIT_NAMES, allow, check_name, identity, is_own

MOST_STEPS = 10_000_000
MOST = 10_000_000  # of anything that is counted
LONGEST_SHOWN = 60  # characters of a value in a message
LONGEST_NAME = 200  # characters
LONGEST_PART = 255  # bytes of a name in a path
LONGEST_PATH = 4000  # bytes; systems take 4096
LARGEST_SCALE = 1.5  # of the intensity, as `MAX_INTENSITY` of the editors
LARGEST_FRONTIER_SCALE = 2.5  # of the intensity, where the study compares whole frontiers
EDITORS = KIT_NAMES["generator.editor"]  # the default one first
UNNAMED = ("", "image")  # code of the kit that stored work is named without
CHECKED = ConfigDict(extra="forbid", arbitrary_types_allowed=False)

Config = TypeVar("Config")


def setting(
    default: Any,
    description: str,
    *,
    hashed: bool = True,
    half: str = "",
    later: bool = False,
    **limits: float,
) -> Any:
    """One field of a settings class.

    Args:
        default: value of the preset `cpu`.
        description: what the setting means, with its unit.
        hashed: whether it can change a result. A setting that cannot may change when a run resumes.
        half: "edit" for a setting that only the edit half of a study depends on.
        later: whether it came after results were stored under hashes: it counts only where it is
            not its default, so that these results are found again.
        limits: pydantic's `ge`, `gt`, `le`, `lt`.
    """
    extra = {"hashed": hashed and not half, "half": half, "later": later}
    field: Any = Field
    return field(default, description=description, json_schema_extra=extra, **limits)


def _check_scales(text: str, largest: float = LARGEST_SCALE) -> str:
    """Accept numbers above 0 with commas between them, as in 0.5,1.5."""
    try:
        scales = [float(part) for part in text.split(",")]
    except ValueError:
        scales = []
    if not scales or not all(0 < scale <= largest for scale in scales):
        raise ValueError(f"numbers above 0 and up to {largest:g} with commas between them")
    return text


def _check_device(text: str) -> str:
    """Accept the devices that the training loop knows."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", text):
        raise ValueError("auto, cpu, cuda, cuda:NUMBER or mps")
    return text


def _check_detector(text: str) -> str:
    """Accept the name of a face detector, or module:function."""
    known = ("embedded", "mediapipe", "facenet-pytorch")
    if text not in known and not re.fullmatch(r"[\w.]+:\w+", text):
        raise ValueError(f"{', '.join(known)} or module:function")
    return text


def _check_split(text: str) -> str:
    """Accept the name of a split of a real corpus, or a .json file."""
    if text not in ("strict", "drawn", "paper") and not text.endswith(".json"):
        raise ValueError("strict, drawn, paper or a .json file")
    return _check_place(text)


def _check_name(text: str) -> str:
    """Accept any text that is not empty, not long and has printable characters alone."""
    if not text.strip() or len(text) > LONGEST_NAME or not text.isprintable():
        raise ValueError(f"a name of up to {LONGEST_NAME} printable characters")
    return text


def _name_of_code(setting: str, value: Any) -> Any:
    """Take an object of the user for its name; a text stays, and nothing is imported by it."""
    return value if isinstance(value, str) else allow(setting, value)


def _check_editor(text: str) -> str:
    """Accept an editor of the kit, or `module:name`."""
    if text not in EDITORS and not is_own(text):
        raise ValueError(f"{', '.join(EDITORS)} or module:name")
    return text


def _check_place(text: str) -> str:
    """Accept the path of a file or folder, or nothing."""
    parts = text.encode(errors="replace").split(b"/")
    is_long = len(text) > LONGEST_PATH or any(len(part) > LONGEST_PART for part in parts)
    if is_long or (text and not text.isprintable()):
        raise ValueError(f"a path of printable characters, {LONGEST_PART} bytes in each part")
    return text


def _check_template(text: str) -> str:
    """Accept names in braces, each once, or nothing."""
    names = re.findall(r"{(\w+)}", text)
    rest = re.sub(r"{\w+}", "", text)
    is_template = bool(names) and len(set(names)) == len(names) and not set("{}") & set(rest)
    if text and not (is_template and text.isprintable()):
        raise ValueError("names in braces, each once")
    return text


def _check_rows(text: str) -> str:
    """Accept names of rows with commas between them, or nothing."""
    if text.strip() and not re.fullmatch(r"[\w., ]+", text):
        raise ValueError("TABLE.ROW with commas between them")
    return text


Name = Annotated[str, AfterValidator(_check_name)]
Scales = Annotated[str, AfterValidator(_check_scales)]
_check_frontier_scales = partial(_check_scales, largest=LARGEST_FRONTIER_SCALE)
FrontierScales = Annotated[str, AfterValidator(_check_frontier_scales)]
Device = Annotated[str, AfterValidator(_check_device)]
Detector = Annotated[str, AfterValidator(_check_detector)]
Split = Annotated[str, AfterValidator(_check_split)]
OwnCode = AfterValidator(check_name)
CodeName = Annotated[str, OwnCode]
ContentLoss = Annotated[str, BeforeValidator(partial(_name_of_code, "content.loss")), OwnCode]
ContentCode = Annotated[str, BeforeValidator(partial(_name_of_code, "content.encoder")), OwnCode]
EmotionLoss = Annotated[str, BeforeValidator(partial(_name_of_code, "emotion.loss")), OwnCode]
EmotionCode = Annotated[str, BeforeValidator(partial(_name_of_code, "emotion.encoder")), OwnCode]
OwnEditor = AfterValidator(_check_editor)
EditorCode = Annotated[str, BeforeValidator(partial(_name_of_code, "generator.editor")), OwnEditor]
Cluster = Annotated[str, AfterValidator(check_cluster)]
Place = Annotated[str, AfterValidator(_check_place)]
Template = Annotated[str, AfterValidator(_check_template)]
Rows = Annotated[str, AfterValidator(_check_rows)]
Crop = Literal["aligned", "released"]
TrackerName = Literal["auto", "none", "tensorboard", "mlflow", "wandb"]
TrainingPrecision = Literal["auto", "fp32", "bf16", "fp16"]
Speech = Literal["espeak", "cached"]


_OWN = "as module:name or an object of your own; empty: the kit's"


def _seed() -> Any:
    return setting(0, "random seed", ge=0, lt=2**31)


def _device() -> Any:
    return setting("auto", "a GPU where there is one, cpu, cuda, cuda:0 or mps", hashed=False)


def _devices() -> Any:
    return setting(
        1, "processes that train as one, a GPU each, or parts of the CPU", hashed=False, ge=1, le=64
    )


def _precision() -> Any:
    return setting("auto", "of the training; auto: fp16 on a GPU, else fp32", hashed=False)


def _micro_batches() -> Any:
    return setting(
        1, "parts that a batch is computed in, to save memory", hashed=False, ge=1, le=100_000
    )


def _compiled() -> Any:
    return setting(False, "compile the networks by torch.compile", hashed=False)


def _tracker() -> Any:
    return setting(
        "auto", "where curves also go; auto: TensorBoard where it is installed", hashed=False
    )


def _workers() -> Any:
    return setting(2, "worker processes; 0 works in this process", hashed=False, ge=0, le=1024)


def _cluster() -> Any:
    return setting("", "where a Dask cluster does the jobs; empty: this machine", hashed=False)


def _steps(default: int, description: str, least: int = 1) -> Any:
    return setting(default, description, ge=least, le=MOST_STEPS)


def _weight(default: float, description: str) -> Any:
    return setting(default, f"weight of {description}", ge=0, le=1e6)


def _learning_rate(default: float) -> Any:
    return setting(default, "peak of the learning rate", gt=0, le=1)


@dataclass(frozen=True, config=CHECKED)
class CorpusConfig:
    """Which clips, and how large: notebook 00."""

    corpus: Literal["studio", "mead", "ravdess", "crema-d", "folder"] = setting(
        "studio", "studio is generated; the others are read from data_root"
    )
    speech: Speech = setting(
        "espeak", "espeak synthesises sentences; cached takes the few committed ones"
    )
    data_root: Place = setting("", "folder of a corpus that is not generated")
    template: Template = setting(
        "", "layout of corpus=folder, as in {speaker}/{emotion}/{sentence}"
    )
    split: Split = setting("strict", "who trains and who reports in a real corpus")
    max_clips: int = setting(
        0,
        "clips of a real corpus in each part, whole sentences of a speaker; 0 takes all",
        ge=0,
        le=MOST,
    )
    frame_rate: float = setting(25.0, "Hz, of a real corpus", gt=0, le=240)
    detector: Detector = setting("embedded", "face detector for a real corpus")
    train_people: int = setting(60, "people who train", ge=2, le=MOST)
    train_clips: int = setting(4, "clips per training person", ge=1, le=MOST)
    report_people: int = setting(
        20, "people who report; one half fits the probes, the other half can score", ge=2, le=MOST
    )
    report_score_people: int = setting(5, "people of the scoring half who score", ge=1, le=MOST)
    report_sentences: int = setting(
        12, "sentences; one half for each half of the people", ge=2, le=MOST
    )
    edits: int = setting(63, "true edits for the evaluation", ge=1, le=MOST)
    frame_size: int = setting(128, "side of a rendered frame, pixels", ge=32, le=4096)
    crop: Crop = setting("aligned", "aligned holds the face still; released is the release's box")
    crop_size: int = setting(96, "side of the face crop, pixels", ge=16, le=2048)
    seed: int = _seed()
    workers: int = _workers()
    cluster: Cluster = _cluster()
    studio_version: int = setting(
        1,
        "of the generated people; 2 has beards, glasses, wrinkles, cameras, stronger acting",
        ge=1,
        le=2,
        later=True,
    )
    ingested: Place = setting(
        "", "folder of crops that runs share; empty: `ingested` beside the run", hashed=False
    )


@dataclass(frozen=True, config=CHECKED)
class PriorsConfig:
    """Frozen networks trained elsewhere: notebook 01."""

    audio: Name = setting("embedded", "or a bundle of torchaudio, as WAV2VEC2_XLSR53")
    audio_layer: int = setting(20, "layer of a bundle's transformer, from 1", ge=1, le=1000)
    audio_windows: Literal["whole", "released"] = setting(
        "whole", "whether a bundle takes a clip at once or in the release's windows"
    )
    language: Name = setting("embedded", "or a model of open_clip, as ViT-B-32/openai")
    vision: Name = setting("embedded", "or iresnet50, the release's")
    batch: int = setting(256, "frames in a batch", ge=1, le=100_000)
    weights: Place = setting(
        "", "folder of weights that are not embedded; empty: CDRL_WEIGHTS", hashed=False
    )
    download: bool = setting(False, "download missing weights into that folder", hashed=False)
    device: Device = _device()
    features: Place = setting(
        "", "folder of features that runs share; empty: the run's own", hashed=False
    )


@dataclass(frozen=True, config=CHECKED)
class ContentConfig:
    """Contrastive content representation learning (CCRL): notebook 02.

    Weights: of the terms of `cdrl.representation.ccrl.ContentObjective`.
    """

    steps: int = _steps(300, "optimiser steps")
    control_steps: int = _steps(60, "steps on shuffled pairs, constant and noise images")
    batch: int = setting(8, "pairs of clips in a batch", ge=3, le=100_000)
    pairs: int = setting(1000, "pairs of clips that are drawn and aligned", ge=1, le=MOST)
    alignment: Literal["prior", "mfcc", "linear", "truth"] = setting(
        "prior", "what aligns a pair: DTW on the audio prior or on MFCC, a straight line, the truth"
    )
    moments: int = setting(24, "moments of each clip of a pair", ge=2, le=MOST)
    temporal_exclusion: int = setting(1, "frames; a nearer moment is no negative", ge=0, le=MOST)
    false_negative_cosine: float = setting(
        0.95, "cosine of the audio prior above which two moments are no negatives", ge=0, le=1
    )
    negatives: Literal["two", "one"] = setting(
        "two", "negatives from both clips of a pair, or from the other clip alone"
    )
    mean_swap_prob: float = setting(
        0.5, "share of clips whose mean feature is exchanged for another clip's", ge=0, le=1
    )
    short_window_prob: float = setting(
        0.3, "share of clips that are seen through short windows with repeated ends", ge=0, le=1
    )
    learning_rate: float = _learning_rate(2e-3)
    window: int = setting(9, "frames that an embedding sees", ge=1, le=1001)
    embedding: int = setting(12, "dimensions of the embedding", ge=1, le=100_000)
    dropout: float = setting(0.0, "share of units that dropout removes", ge=0, lt=1)
    temperature: float = setting(0.1, "of the contrastive softmax", gt=0, le=100)
    units: int = setting(60, "clusters of the audio prior that the embedding learns", ge=2, le=MOST)
    contrast_weight: float = _weight(1.0, "the contrastive term")
    wrong_image_weight: float = _weight(0.2, "the term of wrong images under the right sound")
    sound_weight: float = _weight(1.5, "the cross-entropy of sound units")
    emotion_weight: float = _weight(0.2, "the term that removes emotion")
    speaker_weight: float = _weight(0.1, "the term that removes the speaker")
    covariance_weight: float = _weight(0.0, "the covariance term")
    variance_weight: float = _weight(1.0, "the variance term")
    seed: int = _seed()
    device: Device = _device()
    devices: int = _devices()
    precision: TrainingPrecision = _precision()
    micro_batches: int = _micro_batches()
    compiled: bool = _compiled()
    tracker: TrackerName = _tracker()
    workers: int = _workers()
    loss: ContentLoss = setting("", f"the contrastive term, {_OWN}")
    encoder: ContentCode = setting("", f"the encoder, {_OWN}")


@dataclass(frozen=True, config=CHECKED)
class EmotionConfig:
    """Contrastive emotion representation learning (CERL): notebook 03.

    Weights: of the terms of `cdrl.representation.cerl.EmotionObjective`.
    """

    steps: int = _steps(300, "optimiser steps")
    control_steps: int = _steps(60, "steps on constant and noise images")
    released_steps: int = _steps(200, "steps of CERL as released, for comparison")
    batch: int = setting(48, "pairs of clips in a batch", ge=1, le=100_000)
    learning_rate: float = _learning_rate(1e-3)
    window: int = setting(51, "frames over which emotion is pooled: two seconds", ge=1, le=10_001)
    short: float = setting(
        0.25, "share of batches that see five frames, as an editor shows them", ge=0, le=1
    )
    bottleneck: int = setting(8, "dimensions that all information passes", ge=1, le=MOST)
    noise: float = setting(0.5, "std of the noise on each of them in training", ge=0, le=100)
    temperature: float = setting(0.07, "of the contrastive softmax", gt=0, le=100)
    prior_weight: float = _weight(1.0, "the term of the emotion prior")
    contrast_weight: float = _weight(1.0, "the contrastive term")
    direction_weight: float = _weight(0.5, "the direction term")
    intensity_weight: float = _weight(10.0, "the intensity term")
    speaker_weight: float = _weight(0.1, "the term that removes the speaker")
    variance_weight: float = _weight(1.0, "the variance term")
    seed: int = _seed()
    device: Device = _device()
    devices: int = _devices()
    precision: TrainingPrecision = _precision()
    micro_batches: int = _micro_batches()
    compiled: bool = _compiled()
    tracker: TrackerName = _tracker()
    workers: int = _workers()
    loss: EmotionLoss = setting("", f"the contrastive term, {_OWN}")
    encoder: EmotionCode = setting("", f"the encoder, {_OWN}")


@dataclass(frozen=True, config=CHECKED)
class ProbeConfig:
    """What the two embeddings know: notebook 04."""

    fit_frames: int = setting(
        20000, "frames that fit a probe; a leak grows with them", ge=10, le=MOST
    )
    swaps: int = setting(4000, "triples of the image swap", ge=1, le=MOST)
    gallery: int = setting(5, "sentences in a retrieval gallery", ge=1, le=MOST)
    map_points: int = setting(3000, "points of a UMAP map", ge=10, le=MOST)
    fit_steps: int = _steps(
        60, "steps of both encoders on real clips, for each fold; 0 scores them as trained", least=0
    )
    workers: int = _workers()
    seed: int = _seed()


@dataclass(frozen=True, config=CHECKED)
class GeneratorConfig:
    """The edit (SPFEM), with CDRL guidance and without: notebook 05."""

    size: int = setting(64, "side of the edited crop, pixels", ge=16, le=2048)
    steps: int = _steps(400, "optimiser steps")
    batch: int = setting(14, "windows in a batch", ge=2, le=100_000)
    learning_rate: float = _learning_rate(2e-3)
    distil_steps: int = setting(
        400, "steps of the students, facial-action editor", later=True, ge=1, le=MOST_STEPS
    )
    pixel_steps: int = setting(
        24,
        "last steps, whose CDRL terms are on drawn pixels, facial-action editor",
        later=True,
        ge=0,
        le=MOST_STEPS,
    )
    start: Place = setting(
        "generator_start", "weights that the image editors begin with; empty: none"
    )
    content_weight: float = _weight(1.0, "the content term, times the variant's own")
    emotion_weight: float = _weight(1.0, "the emotion term, times the variant's own")
    adversarial_weight: float = _weight(1.0, "the adversarial term, times the variant's own")
    videos: int = setting(4, "edited videos to write", ge=1, le=10_000)
    fit_steps: int = _steps(30, "steps of the image editor's fit to the samples' real person")
    seed: int = _seed()
    device: Device = _device()
    devices: int = _devices()
    precision: TrainingPrecision = _precision()
    micro_batches: int = _micro_batches()
    compiled: bool = _compiled()
    tracker: TrackerName = _tracker()
    workers: int = _workers()
    editor: EditorCode = setting(
        "actions", "facial actions are edited and drawn; or the image editor, or one of your own"
    )


@dataclass(frozen=True, config=CHECKED)
class EvaluateConfig:
    """Scores of the edits: notebook 06.

    A score whose published weights are not named is left out.
    """

    sweep: Scales = setting("0.5,1.5", "intensity scales beside 1, for equal emotion accuracy")
    syncnet: Place = setting("", "file of SyncNet v2, for lse_d and lse_c")
    arcface: Place = setting("", "file resnet18_110.pth of arcface-pytorch, for fad")
    efficient_face: Place = setting("", "file of EfficientFace trained on AffectNet-7, for csim")
    workers: int = _workers()
    seed: int = _seed()


@dataclass(frozen=True, config=CHECKED)
class StudyConfig:
    """The comparison over seeds, `cdrl study`: no stage of a run."""

    speech: Speech = setting("espeak", "espeak synthesises sentences; cached takes committed ones")
    people: int = setting(640, "people who train", ge=2, le=MOST)
    clips: int = setting(8, "clips per training person", ge=1, le=MOST)
    split: Literal["report", "choose", "sealed"] = setting(
        "report", "who scores; sealed by --sealed alone", hashed=False
    )
    studio_version: int = setting(
        1, "of the generated people, as corpus.studio_version", ge=1, le=2, later=True
    )
    rows: Rows = setting(
        "", "as in content.cdrl,emotion.raw; empty: all rows of this set", hashed=False
    )
    report_people: int = setting(
        24, "people who report; one half fits the probes, the other scores", ge=2, le=MOST
    )
    pairs: int = setting(8000, "pairs of clips that are drawn and aligned", ge=1, le=MOST)
    content_steps: int = _steps(1000, "of CCRL")
    emotion_steps: int = _steps(1000, "of CERL")
    released_steps: int = _steps(400, "of CCRL as released, which sees images")
    control_steps: int = _steps(200, "on constant and noise images")
    content_loss: CodeName = setting("", f"content.loss of the row own, {_OWN}", hashed=False)
    content_encoder: CodeName = setting("", f"its content.encoder, {_OWN}", hashed=False)
    emotion_loss: CodeName = setting("", f"emotion.loss of the row own, {_OWN}", hashed=False)
    emotion_encoder: CodeName = setting("", f"its emotion.encoder, {_OWN}", hashed=False)
    seeds: int = setting(3, "seeds of each row", hashed=False, ge=1, le=1000)
    fit_frames: int = setting(20000, "frames that fit a probe", ge=10, le=MOST)
    swaps: int = setting(4000, "triples of the image swap", ge=1, le=MOST)
    gallery: int = setting(5, "sentences in a retrieval gallery", ge=1, le=MOST)
    half: Literal["both", "representation", "edit", "opponents", "parts"] = setting(
        "both", "which rows: those of results/study, fair opponents, or one part each", hashed=False
    )
    sealed_people: int = setting(
        48, "people of the sealed set", half="edit", later=True, ge=2, le=48
    )
    sealed_sentences: int = setting(
        12, "sentences of the sealed set", half="edit", later=True, ge=2, le=MOST
    )
    frontier_sweep: FrontierScales = setting(
        "0.5,1,1.5,2,2.5",
        "intensity scales of the rows whose frontiers are compared",
        half="edit",
        later=True,
    )
    edits: int = setting(168, "true edits of the people who score", half="edit", ge=1, le=MOST)
    edit_pairs: int = setting(
        1280, "true edits of the training people, for `paired` alone", half="edit", ge=1, le=MOST
    )
    edit_steps: int = setting(
        600, "of every trained variant, from the committed start", half="edit", ge=1, le=MOST_STEPS
    )
    edit_batch: int = setting(8, "windows in a batch", half="edit", ge=2, le=MOST)
    edit_size: int = setting(64, "side of the edited crop, pixels", half="edit", ge=16, le=MOST)
    edit_sweep: Scales = setting(
        "0.5,0.75,1,1.25,1.5", "intensity scales at which every variant is scored", half="edit"
    )
    manipulator_steps: int = setting(
        1000, "of the action manipulator", half="edit", ge=1, le=MOST_STEPS
    )
    distil_steps: int = setting(
        1200, "of the guidance's students on facial actions", half="edit", ge=1, le=MOST_STEPS
    )
    workers: int = _workers()
    cluster: Cluster = _cluster()


@dataclass(frozen=True, config=CHECKED)
class ActionsConfig:
    """The action manipulator of the edit and its distilled guidance: no stage of a run."""

    steps: int = _steps(1000, "optimiser steps")
    batch: int = setting(28, "windows in a batch", ge=2, le=MOST)
    window: int = setting(24, "frames", ge=1, le=MOST)
    learning_rate: float = _learning_rate(2e-3)
    distil_steps: int = _steps(1200, "of the guidance's students")
    content_weight: float = _weight(1.0, "the content term, times the variant's own")
    emotion_weight: float = _weight(1.0, "the emotion term, times the variant's own")
    adversarial_weight: float = setting(
        1.0, "weight of the adversarial term, times the variant's own", later=True, ge=0, le=1e6
    )
    pixel_steps: int = setting(
        0, "last steps, whose CDRL terms are on drawn pixels", later=True, ge=0, le=MOST_STEPS
    )
    speech_weight: float = setting(
        1.0, "weight of the jaw's term, times the variant's own", later=True, ge=0, le=1e6
    )
    clip_apart: bool = setting(
        False, "clip the discriminator's gradients by their own norm", later=True
    )
    contrast_content: bool = setting(
        False, "content term against other moments of the source (InfoNCE)", later=True
    )
    seed: int = _seed()
    device: Device = _device()
    devices: int = _devices()
    precision: TrainingPrecision = _precision()
    micro_batches: int = _micro_batches()
    compiled: bool = _compiled()
    tracker: TrackerName = setting("none", "where curves also go", hashed=False)


@dataclass(frozen=True, config=CHECKED)
class IngestConfig:
    """Clips of a real corpus into a crop store, `cdrl data ingest`: no stage of a run."""

    frame_rate: float = setting(
        25.0, "Hz, the common time base; the paper's protocol has 30", gt=0, le=240
    )
    crop: Crop = setting("aligned", "aligned holds the face still; released is the release's box")
    crop_size: int = setting(96, "side of the face crop, pixels", ge=16, le=2048)
    stride: int = setting(
        4, "frames between two searches for the face; a released crop searches each", ge=1, le=MOST
    )
    detector: Detector = setting("embedded", "face detector")
    require_sound: bool = setting(True, "leave out a silent clip")
    split: Name = setting("real", "the store's column of that name")
    boxes: Place = setting(
        "", "folder of boxes found before, NAME.csv or .npz; their content counts", hashed=False
    )
    workers: int = setting(
        2, "processes; 0 works in this process, without a time limit", hashed=False, ge=0, le=1024
    )
    cluster: Cluster = _cluster()
    limit_seconds: float = setting(
        600.0, "time limit for a clip, seconds", hashed=False, gt=0, le=MOST
    )
    held_mb: int = setting(
        600,
        "decoded frames a worker keeps, MB; a longer clip is decoded twice",
        hashed=False,
        ge=0,
        le=MOST,
    )


# Other spellings of accepted words.
ALSO = {"crema_d": "crema-d", "cremad": "crema-d"}
# Settings whose bare name means that of every stage.
EVERY_STAGE = (
    "seed",
    "workers",
    "device",
    "devices",
    "precision",
    "micro_batches",
    "compiled",
    "tracker",
)
# In the order of the notebooks 00 to 06; the same number starts a stage's folder.
STAGES: dict[str, type] = {
    "corpus": CorpusConfig,
    "priors": PriorsConfig,
    "content": ContentConfig,
    "emotion": EmotionConfig,
    "probe": ProbeConfig,
    "generator": GeneratorConfig,
    "evaluate": EvaluateConfig,
}


def stage_config(stage: str, preset: str = "cpu", settings: Mapping[str, Any] | None = None) -> Any:
    """Build the configuration of one stage: defaults, then the preset, then the settings.

    Args:
        stage: a name in `STAGES`.
        preset: a name in `PRESETS`.
        settings: values or their texts by "stage.field", by a "field" that one stage has, or by
            "seed" or "device", which are every stage's.

    Returns:
        The stage's dataclass; `stage_config("content", "cpu", {"content.steps": "500"}).steps` is
        the int 500.

    Raises:
        InputError: unknown stage, preset or setting, or a value out of its range, of any stage.

    >>> stage_config("content", "smoke", {"seed": 3}).seed
    3
    """
    check_known("stage", stage, STAGES)
    check_known("preset", preset, PRESETS)
    resolved = resolve_settings(settings)
    for name in INTERFACES.keys() & resolved.keys():
        value = resolved[name]
        is_kit_name = name in KIT_NAMES and isinstance(value, str) and not is_own(value)
        if value != "" and not is_kit_name:
            resolved[name] = allow(name, value)
    for name, value in resolved.items():  # a bad value of another stage is told here too
        other_stage, _, field = name.partition(".")
        read_value(name, field_infos(STAGES[other_stage])[field], value)
    chosen = _choose_editor(PRESETS[preset] | resolved)
    prefix = f"{stage}."
    values = {}
    for name, value in chosen.items():
        if name.startswith(prefix):
            values[name.removeprefix(prefix)] = value
    return from_dict(STAGES[stage], values)


def _choose_editor(chosen: dict[str, Any]) -> dict[str, Any]:
    """Add what the chosen editor needs; the facial-action editor draws aligned crops alone.

    Args:
        chosen: settings by their full names.
    """
    is_released = chosen.get("corpus.crop") == "released"
    editor = chosen.get("generator.editor", "image" if is_released else "actions")
    if editor != "actions":
        return IMAGE_EDITOR | chosen | {"generator.editor": editor}
    if is_released:
        raise InputError(
            "generator.editor=actions: the facial-action editor draws aligned crops, and "
            "corpus.crop=released; leave one of the two out"
        )
    return chosen


def from_dict(config_class: type[Config], values: Mapping[str, Any]) -> Config:
    """Build a configuration from a mapping; texts are read as the field's type.

    Args:
        config_class: a settings class of this module.
        values: field names and values.

    Raises:
        InputError: for a key that is not a field (naming the nearest and the accepted ones), or a
            value of another type or out of its range.
    """
    infos = field_infos(config_class)
    stage = stage_name(config_class)
    checked = {}
    for name, value in values.items():
        if name not in infos and renamed_setting(name):
            raise InputError(renamed_setting(name))
        check_known(f"setting of {stage}", name, infos)
        full_name = f"{stage}.{name}" if stage in STAGES else name
        checked[name] = read_value(full_name, infos[name], value)
    return config_class(**checked)


def field_infos(config_class: type) -> dict[str, FieldInfo]:
    """Return pydantic's description of every field: type, default, range and meaning."""
    return config_class.__pydantic_fields__  # type: ignore[attr-defined]


def resolve_settings(settings: Mapping[str, Any] | None) -> dict[str, Any]:
    """Put settings under their full names.

    {"bottleneck": 7} becomes {"emotion.bottleneck": 7}. A bare seed or device becomes every
    stage's.

    Args:
        settings: names and values; None is no setting.

    Raises:
        InputError: for a name that no stage has, or several.
    """
    full_names = []
    for stage, config_class in STAGES.items():
        full_names += [f"{stage}.{name}" for name in field_infos(config_class)]
    resolved: dict[str, Any] = {}
    for name, value in (settings or {}).items():
        for full_name in _full_names(name, full_names):
            resolved[full_name] = value
    return resolved


def _full_names(name: str, full_names: list[str]) -> list[str]:
    """Return the full names that one given name stands for."""
    matches = [full for full in full_names if name in (full, full.partition(".")[2])]
    if not matches:
        stage = str(name).partition(".")[0]
        accepted = [full for full in full_names if full.startswith(f"{stage}.")]
        if not accepted:
            bare_names = [full.partition(".")[2] for full in full_names]
            accepted = list(dict.fromkeys(bare_names))
        former = renamed_setting(str(name).rpartition(".")[2])
        if former:
            raise InputError(f"setting {name!r}: {former}")
        check_known("setting", name, accepted)
    if len(matches) > 1 and name not in EVERY_STAGE:
        choices = " or ".join(matches)
        raise InputError(f"setting {name!r} is ambiguous: name the stage too, as in {choices}")
    return matches


def config_hash(config: Any) -> str:
    """Return 12 hexadecimal digits that differ when a setting differs that can change a result."""
    content = [stage_name(type(config)), hashed_settings(config)]
    text = json.dumps(former_spelling(content), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def hashed_settings(config: Any) -> dict[str, Any]:
    """Return the settings that a result depends on, as a plain mapping."""
    return _select(config, "hashed", True)


def edit_hash(config: StudyConfig, recipes: list) -> str:
    """Return 12 hexadecimal digits for the edit half of a study.

    Args:
        config: its own settings and the shared ones count.
        recipes: whatever else the edits depend on, as JSON can hold it.
    """
    edit_settings = _select(config, "half", "edit")
    content = [hashed_settings(config), edit_settings, config.split, recipes]
    text = json.dumps(former_spelling(content), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _select(config: Any, key: str, value: Any) -> dict[str, Any]:
    """Return the settings whose field has `value` under `key`, see `setting`.

    Code of the user stands with a hash of its source, and not at all where the kit's own is taken.
    """
    selected = {}
    for name, info in field_infos(type(config)).items():
        extra = info.json_schema_extra
        if not isinstance(extra, dict) or extra[key] != value:
            continue
        setting_value = getattr(config, name)
        if extra["later"] and setting_value == info.default:
            continue
        if OwnCode in info.metadata or OwnEditor in info.metadata:
            if setting_value not in UNNAMED:
                selected[name] = identity(setting_value)
            continue
        selected[name] = setting_value
    return selected


def to_dict(config: Any) -> dict[str, Any]:
    """Return all settings as a plain mapping that json and `from_dict` read back."""
    return asdict(config)


def stage_name(config_class: type) -> str:
    """Return a stage's name by its class: `ContentConfig` -> "content"."""
    for name, stage_class in STAGES.items():
        if stage_class is config_class:
            return name
    return config_class.__name__


def stage_folder(run: Path | str, stage: str) -> Path:
    """Return the folder of a stage in a run: runs/demo/02_content.

    Args:
        run: folder of the run.
        stage: a name in `STAGES`.

    >>> stage_folder("runs/demo", "content").name
    '02_content'
    """
    check_known("stage", stage, STAGES)
    number = list(STAGES).index(stage)
    return Path(run) / f"{number:02d}_{stage}"


def read_value(name: str, info: FieldInfo, value: Any) -> Any:
    """Read one value as its field's type and check its range.

    Args:
        name: how the message calls the setting, as content.steps.
        info: the field, of `field_infos`.
        value: a value or the text of one.

    Raises:
        InputError: with the value, what is accepted and an example.
    """
    kind = info.annotation
    if name in INTERFACES:
        value = _name_of_code(name, value)
    if isinstance(value, str):
        value = ALSO.get(value, value)
    is_wrong_bool = isinstance(value, bool) and kind is not bool
    is_wrong_text = kind is bool and str(value).lower() not in ("true", "false")
    if not is_wrong_bool and not is_wrong_text:
        try:
            checked = _adapter(info).validate_python(value)
        except ValidationError:
            pass
        else:
            if not isinstance(checked, float) or math.isfinite(checked):
                return checked
    accepted = accepted_values(info)
    example = "mine:my_code" if OwnCode in info.metadata else info.default
    raise InputError(f"{name}={_shown(value)}: {accepted}, as in {name}={example}")


def _shown(value: Any) -> str:
    """Return a value for a message: short, and in one line."""
    text = str(value)
    if not text.isprintable():
        text = repr(text)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}..."


def _adapter(info: FieldInfo) -> TypeAdapter:
    """Return pydantic's reader of one field."""
    if not info.metadata:
        return TypeAdapter(info.annotation)  # type: ignore[arg-type]
    return TypeAdapter(Annotated[(info.annotation, *info.metadata)])  # type: ignore[arg-type]


def accepted_values(info: FieldInfo) -> str:
    """Say what a field accepts, as in "a whole number from 1 to 1000 is needed"."""
    kind = info.annotation
    choices = getattr(kind, "__args__", None)
    if choices:
        return f"accepted are {', '.join(map(str, choices))}"
    if OwnCode in info.metadata:
        return "accepted are module:name, or an object in Python"
    for validator in info.metadata:
        if isinstance(validator, AfterValidator):
            return f"accepted are {_reason(validator)}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
    return f"{names[kind]}{_range(info)} is needed"  # type: ignore[index]


def _reason(validator: AfterValidator) -> str:
    """Return what a check of this module accepts: the message with which it refuses a text."""
    for refused in ("", "\0"):
        try:
            validator.func(refused)  # type: ignore[call-arg]
        except ValueError as error:
            return str(error)
    return "any text"


def _range(info: FieldInfo) -> str:
    """Return the range of a number in words."""
    words = {"ge": "from", "gt": "above", "le": "up to", "lt": "below"}
    text = ""
    for limit in info.metadata:
        for key, word in words.items():
            bound = getattr(limit, key, None)
            if bound is not None:
                text += f" {word} {bound:g}" if isinstance(bound, float) else f" {word} {bound}"
    return text


def check_known(what: str, name: str, accepted: Any) -> None:
    """Refuse a name that is not among the accepted ones, and name the nearest.

    Args:
        what: what the name stands for, as "preset".
        name: the name that was given.
        accepted: the accepted names.

    Raises:
        InputError: with the nearest and all accepted names.
    """
    if name in accepted:
        return
    nearest = get_close_matches(str(name), list(accepted), n=1, cutoff=0.5)
    hint = f" (did you mean {nearest[0]}?)" if nearest else ""
    raise InputError(f"unknown {what} {name!r}{hint}: accepted are {', '.join(accepted)}")


def settings_table(stage: str) -> list[tuple[str, str, str, str]]:
    """Return the settings of a stage for documentation.

    Args:
        stage: a name in `STAGES`.

    Returns:
        (name, default, accepted values, meaning) of every setting.
    """
    rows = []
    for name, info in field_infos(STAGES[stage]).items():
        accepted = accepted_values(info).removesuffix(" is needed").removeprefix("accepted are ")
        rows.append((f"{stage}.{name}", str(info.default), accepted, info.description or ""))
    return rows


def field_names(config_class: type) -> list[str]:
    """Return the names of a settings class's fields, in order."""
    return [item.name for item in fields(config_class)]
