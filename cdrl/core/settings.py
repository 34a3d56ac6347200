"""Settings: one frozen dataclass per stage, the presets, and the folder that every stage writes.

A setting exists once: its default is here (the preset `cpu`), the other presets are tables of what differs, and
`cdrl run --set stage.field=value` comes last. Notebooks name a preset and pass settings on; they hold no numbers.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path

from cdrl.core.errors import InputError
from cdrl.core.presets import PRESETS


def _one_of(default, *accepted):
    """A field that takes one of a few words."""
    return field(default=default, metadata={"accepted": accepted})


def _not_hashed(default):
    """A field that cannot change a result (worker processes, say): no part of the hash, free to change on resuming."""
    return field(default=default, metadata={"free": True})


def _edit(default):
    """A field of the study's edit half: no part of the other half's hash, see `edit_hash`."""
    return field(default=default, metadata={"free": True, "edit": True})


@dataclass(frozen=True)
class CorpusConfig:
    """Which clips, and how large: notebook 00."""

    corpus: str = _one_of("studio", "studio", "mead", "ravdess", "crema-d", "folder")
    speech: str = _one_of(
        "espeak", "espeak", "cached"
    )  # cached: the few committed sentences, without espeak-ng
    data_root: str = ""  # folder of a corpus that is not generated
    template: str = ""  # of corpus=folder, as {speaker}/{emotion}/{clip}
    split: str = (
        "strict"  # of a real corpus: strict, drawn, paper or a .json file; who trains, who reports
    )
    max_clips: int = 0  # of a real corpus in each part, whole sentences of a speaker; 0: all
    frame_rate: float = 25.0  # Hz, of a real corpus
    detector: str = "embedded"  # of faces in a real corpus
    train_people: int = 60
    train_clips: int = 4  # per person
    report_people: int = 20  # half of them fits the probes, of the other half
    report_score_people: int = 5  # so many score
    report_sentences: int = 12  # half for each half of the people
    edits: int = 63  # true edits for the evaluation
    frame_size: int = 128  # pixels, rendered
    crop: str = _one_of(
        "aligned", "aligned", "released"
    )  # the kit's, which holds still; or the release's stretched box
    crop_size: int = 96  # pixels, of the face
    seed: int = 0
    workers: int = _not_hashed(2)
    ingested: str = _not_hashed(
        ""
    )  # folder of crops that runs on real corpora share; empty: `ingested` beside the run


@dataclass(frozen=True)
class PriorsConfig:
    """Outside knowledge, frozen: notebook 01."""

    audio: str = "embedded"  # or the name of a torchaudio bundle, as WAV2VEC2_XLSR53
    audio_layer: int = 20  # of a bundle's transformer, from 1
    audio_windows: str = _one_of(
        "whole", "whole", "released"
    )  # how a bundle hears a clip: at once, or cut as in the release
    language: str = "embedded"  # or an open_clip model, as ViT-B-32/openai
    vision: str = "embedded"  # or iresnet50, the release's
    batch: int = 256
    weights: str = _not_hashed(
        ""
    )  # folder of weights that are not embedded; empty: what CDRL_WEIGHTS names
    download: bool = _not_hashed(False)  # fetch missing ones into that folder
    device: str = _not_hashed("auto")  # a GPU where there is one
    features: str = _not_hashed(
        ""
    )  # folder of features that several runs share; empty: the run's own


@dataclass(frozen=True)
class ContentConfig:
    """Contrastive content representation learning (CCRL): notebook 02. Weights: `training.content.ContentObjective`."""

    steps: int = 300
    control_steps: int = 60  # of the same training on shuffled pairs, constant and noise images
    batch: int = 8  # pairs of clips
    pairs: int = 1000  # drawn and aligned
    alignment: str = _one_of("prior", "prior", "mfcc", "linear", "truth")
    moments: int = 24  # of each clip of a pair
    temporal_exclusion: int = 1  # frames; a moment this near is no negative
    false_negative_cosine: float = (
        0.95  # cosine of the audio prior above which two moments are no negatives of each other
    )
    negatives: str = _one_of(
        "two", "two", "one"
    )  # whose other moments are negatives: both clips', or the partner's alone
    mean_swap_prob: float = 0.5  # share of clips whose mean feature is exchanged for another clip's
    short_window_prob: float = 0.3  # share of clips seen through short windows, held at their ends
    learning_rate: float = 2e-3
    window: int = 9  # frames
    embedding: int = 12
    dropout: float = 0.0
    temperature: float = 0.1
    units: int = 60  # clusters of the audio prior that the embedding learns to tell apart
    contrast_weight: float = 1.0
    wrong_image_weight: float = 0.2
    sound_weight: float = 1.5
    emotion_weight: float = 0.2
    speaker_weight: float = 0.1
    covariance_weight: float = 0.0
    variance_weight: float = 1.0
    seed: int = 0
    device: str = _not_hashed("auto")  # of the training: half precision on a GPU, single on the CPU


@dataclass(frozen=True)
class EmotionConfig:
    """Contrastive emotion representation learning (CERL): notebook 03. Weights: `training.emotion.EmotionObjective`."""

    steps: int = 300
    control_steps: int = 60  # of the same training on constant and noise images
    released_steps: int = 200  # of CERL as released, for comparison
    batch: int = 48  # pairs of clips
    learning_rate: float = 1e-3
    window: int = 51  # frames that a frame's emotion is pooled over: two seconds, emotion is slow
    short: float = 0.25  # share of batches that see five frames, as a generator shows them
    bottleneck: int = 8  # dimensions that everything passes
    noise: float = 0.5  # on each of them, while training
    temperature: float = 0.07
    prior_weight: float = 1.0
    contrast_weight: float = 1.0
    direction_weight: float = 0.5
    intensity_weight: float = 10.0
    speaker_weight: float = 0.1
    variance_weight: float = 1.0
    seed: int = 0
    device: str = _not_hashed("auto")


@dataclass(frozen=True)
class ProbeConfig:
    """What the two embeddings know: notebook 04."""

    fit_frames: int = 20000  # frames that fit a probe; a leak grows with them
    swaps: int = 4000  # triples of the image swap
    gallery: int = 5  # sentences in a retrieval gallery
    map_points: int = 3000
    fit_steps: int = 60  # of both encoders on real clips, for each fold; 0: they are scored as trained, and that is all
    workers: int = _not_hashed(2)
    seed: int = 0


@dataclass(frozen=True)
class GeneratorConfig:
    """The edit (SPFEM), with CDRL guidance and without: notebook 05."""

    size: int = 64  # pixels
    steps: int = 100
    batch: int = 8
    learning_rate: float = 5e-4
    start: str = "generator_start"  # weights both variants begin with; empty: none
    content_weight: float = 1.0
    emotion_weight: float = 1.0
    adversarial_weight: float = (
        1.0  # of the adversarial term, the baseline's own pull towards the emotion
    )
    videos: int = 4
    fit_steps: int = 30  # to the real person of the sample clips
    seed: int = 0
    device: str = _not_hashed("auto")


@dataclass(frozen=True)
class EvaluateConfig:
    """Scores of the edits: notebook 06."""

    sweep: str = (
        "0.5,1.5"  # settings of the dial beside 1, for the comparison at equal emotion accuracy
    )
    # Files of published weights; what needs one that is not named is left out.
    syncnet: str = ""  # SyncNet v2, for lse_d and lse_c
    arcface: str = ""  # resnet18_110.pth of arcface-pytorch, for fad
    efficient_face: str = ""  # EfficientFace trained on AffectNet-7, for csim
    seed: int = 0


@dataclass(frozen=True)
class StudyConfig:
    """The comparison over seeds, `cdrl study`: no stage of a run."""

    speech: str = _one_of("espeak", "espeak", "cached")
    people: int = 640  # who train, with `clips` each
    clips: int = 8
    split: str = field(
        default="report", metadata={"free": True, "accepted": ("report", "choose")}
    )  # who scores
    rows: str = _not_hashed("")  # as in content.cdrl,emotion.raw; empty: all of this set's tables
    report_people: int = 24  # half of them fits the probes, the other half scores
    pairs: int = 8000
    content_steps: int = 1000
    emotion_steps: int = 1000
    released_steps: int = 400  # of CCRL as released, which sees images
    control_steps: int = 200  # on constant and noise images
    seeds: int = _not_hashed(3)
    fit_frames: int = 20000
    swaps: int = 4000
    gallery: int = 5
    half: str = field(
        default="both", metadata={"free": True, "accepted": ("both", "representation", "edit")}
    )
    edits: int = _edit(168)  # true edits of the people who score, seven for each
    edit_pairs: int = _edit(1280)  # true edits of the training people, for `paired` alone
    edit_steps: int = _edit(600)  # of every trained variant, from the committed start
    edit_batch: int = _edit(8)
    edit_size: int = _edit(64)  # pixels
    edit_sweep: str = _edit(
        "0.5,0.75,1,1.25,1.5"
    )  # settings of the dial at which every variant is read
    coefficient_steps: int = _edit(1000)  # of the coefficient host
    distil_steps: int = _edit(1200)  # of the guidance's students on facial actions
    workers: int = _not_hashed(2)


@dataclass(frozen=True)
class ActionsConfig:
    """The coefficient host of the edit and its distilled guidance: no stage of a run."""

    steps: int = 1000
    batch: int = 28  # windows
    window: int = 24  # frames
    learning_rate: float = 2e-3
    distil_steps: int = 1200
    content_weight: float = 1.0
    emotion_weight: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class IngestConfig:
    """Clips of a real corpus into a crop store, `cdrl data ingest`: no stage of a run."""

    frame_rate: float = 25.0  # Hz, the common time base; the paper's protocol has 30
    crop: str = _one_of("aligned", "aligned", "released")
    crop_size: int = 96  # pixels, of the face
    stride: int = 4  # every so many frames the face is looked at; for a released crop at each
    detector: str = "embedded"  # mediapipe, facenet-pytorch, or module:function
    require_sound: bool = True  # a silent clip is left out
    split: str = "real"  # the store's column
    boxes: str = _not_hashed(
        ""
    )  # folder of boxes found before, NAME.csv or .npz; what is in them counts, not where they lie
    workers: int = _not_hashed(2)  # processes; 0 works in this one, without a time limit
    limit_seconds: float = _not_hashed(600.0)  # per clip
    held_mb: int = _not_hashed(
        600
    )  # decoded pictures a worker keeps; a longer clip is decoded twice


# Other spellings of accepted words.
ALSO = {"crema_d": "crema-d", "cremad": "crema-d"}
EVERY_STAGE = ("seed", "device")  # settings whose bare name means that of every stage
# In the order of the notebooks 00 to 06; the same number starts a stage's folder.
STAGES = {
    "corpus": CorpusConfig,
    "priors": PriorsConfig,
    "content": ContentConfig,
    "emotion": EmotionConfig,
    "probe": ProbeConfig,
    "generator": GeneratorConfig,
    "evaluate": EvaluateConfig,
}


def stage_config(stage, preset="cpu", settings=None):
    """The configuration of one stage: defaults, then the preset, then the settings.

    Args:
        stage: a name in `STAGES`.
        preset: a name in `PRESETS`.
        settings: mapping of "stage.field", of a "field" that one stage has, or of "seed" or "device" (every stage's) to a
            value or the text of one.

    Returns:
        The stage's dataclass; `stage_config("content", "cpu", {"content.steps": "500"}).steps` is the int 500.

    Raises:
        InputError: unknown stage, preset, setting or value.

    >>> stage_config("content", "smoke", {"seed": 3}).seed
    3
    """
    _known("stage", stage, STAGES)
    _known("preset", preset, PRESETS)
    chosen = PRESETS[preset] | resolve_settings(settings)
    prefix = f"{stage}."
    values = {
        name.removeprefix(prefix): value
        for name, value in chosen.items()
        if name.startswith(prefix)
    }
    return from_dict(STAGES[stage], values)


def from_dict(config_class, values):
    """A configuration from a mapping; texts are read as the field's type.

    Raises:
        InputError: for a key that is not a field (naming the nearest and the accepted ones), a value of another type.
    """
    by_name = {item.name: item for item in fields(config_class)}
    for name in values:
        _known(f"setting of {stage_name(config_class)}", name, by_name)
    return config_class(
        **{name: _read_value(by_name[name], value) for name, value in values.items()}
    )


def resolve_settings(settings):
    """Settings under their full names: {"bottleneck": 7} becomes {"emotion.bottleneck": 7}, a bare seed or device every stage's.

    Raises:
        InputError: for a name that no stage has, or several.
    """
    full_names = [
        f"{stage}.{item.name}"
        for stage, config_class in STAGES.items()
        for item in fields(config_class)
    ]
    resolved = {}
    for name, value in (settings or {}).items():
        matches = [full for full in full_names if name in (full, full.partition(".")[2])]
        if not matches:
            stage = str(name).partition(".")[0]
            of_stage = [full for full in full_names if full.startswith(f"{stage}.")]
            _known(
                "setting",
                name,
                of_stage or list(dict.fromkeys(full.partition(".")[2] for full in full_names)),
            )
        if len(matches) > 1 and name not in EVERY_STAGE:
            raise InputError(
                f"setting {name!r} is not one: name the stage too, as in {' or '.join(matches)}"
            )
        resolved.update(dict.fromkeys(matches, value))
    return resolved


def config_hash(config):
    """12 hexadecimal digits that differ when a setting differs that can change a result; free fields are left out."""
    text = json.dumps([stage_name(type(config)), identity(config)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def identity(config):
    """The settings that a result depends on, as a plain mapping."""
    return {
        item.name: getattr(config, item.name)
        for item in fields(config)
        if "free" not in item.metadata
    }


def edit_hash(config, recipes):
    """12 hexadecimal digits for the edit half of a `StudyConfig`: its own settings, the shared ones, and a list of recipes."""
    own = {
        item.name: getattr(config, item.name) for item in fields(config) if "edit" in item.metadata
    }
    text = json.dumps([identity(config), own, config.split, recipes], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def to_dict(config):
    """All settings as a plain mapping that json and `from_dict` read back."""
    return asdict(config)


def stage_name(config_class):
    """`ContentConfig` -> "content"."""
    return next(
        (name for name, known in STAGES.items() if known is config_class), config_class.__name__
    )


def stage_folder(run, stage):
    """Folder of a stage in a run: runs/demo/02_content.

    >>> stage_folder("runs/demo", "content").name
    '02_content'
    """
    _known("stage", stage, STAGES)
    return Path(run) / f"{list(STAGES).index(stage):02d}_{stage}"


def _read_value(item, value):
    accepted = item.metadata.get("accepted")
    value = ALSO.get(value, value) if accepted and isinstance(value, str) else value
    if accepted and value not in accepted:
        raise InputError(f"{item.name}={value}: accepted are {', '.join(map(str, accepted))}")
    if item.type is str and isinstance(value, str):
        return value
    if item.type is bool and str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    if item.type in (int, float) and not isinstance(value, bool):
        try:
            number = float(value)
            if 0 <= number < float("inf") and number == item.type(number):
                return item.type(number)
        except (TypeError, ValueError):
            pass
    kind = {
        int: "a whole number from 0",
        float: "a number from 0",
        bool: "true or false",
        str: "a text",
    }[item.type]
    raise InputError(f"{item.name}={value}: {kind} is needed, as in {item.name}={item.default}")


def _known(what, name, accepted):
    """Refuses a name that is not among the accepted ones, naming the nearest."""
    if name in accepted:
        return
    near = get_close_matches(str(name), list(accepted), n=1, cutoff=0.5)
    hint = f" (did you mean {near[0]}?)" if near else ""
    raise InputError(f"unknown {what} {name!r}{hint}: accepted are {', '.join(accepted)}")
