"""A clip from its description, the truth of every frame, and the same clip in another emotion.

    spec --speech--> phonemes and sound --articulation--> jaw and lips -+
      |                                                                 +--> 52 facial actions
      +--expression--> facial actions of the emotion -------------------+
      +--> head pose, gaze, blinks, scene

`act` and `true_edit` are one function that differs in the emotion put on top, so the edit's truth
cannot drift from the clip. Everything is a function of the spec.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS, EMOTIONS, INTENSITIES, emotion_index
from cdrl.media.audio import AUDIO_RATE
from cdrl.studio import articulation, expression
from cdrl.studio.people import VERSION, check_version
from cdrl.studio.sentences import TEXTS
from cdrl.studio.speech import Speech, Utterance, speak_all, utterance, voice_of

SAMPLES_PER_FRAME = 640  # 16 kHz / 25 fps
HIGHEST_LEVEL = 4.5
_CLIP_SEED = 41
_GAZE_SCATTER = [0.07, 0.04]  # radians of yaw and pitch, over fixations
_GAZE_RANGE = (0.6, 0.45)  # radians of yaw and pitch at which an eyeLook action is 1
_SIDES = ("Left", "Right")
# Head pose: yaw, pitch, roll (radians), tx, ty (head widths), log of scale.
_POSE_SCATTER = [0.10, 0.06, 0.04, 0.03, 0.03, 0.04]  # of a clip's mean pose
_DRIFT_SCATTER = [0.045, 0.030, 0.025, 0.010, 0.008, 0.008]  # within a clip
_POSE_LIMITS = np.array([0.45, 0.3, 0.25, 0.12, 0.12, 0.15])
# Closing of the lids in a blink, 0 to 1, by the seconds since it began.
_BLINK_SECONDS, _BLINK_CLOSING = (0, 0.08, 0.12, 0.28), (0, 1, 1, 0)


class _Manner(NamedTuple):
    """How an emotion at level 3 holds head and eyes."""

    head_pitch: float  # radians, positive is down
    gaze_pitch: float  # radians, positive is down
    blink_seconds: float  # between blinks
    restlessness: float  # factor of the head's movement


_MANNERS = {
    "angry": _Manner(0.05, 0.00, 3.5, 1.15),
    "contempt": _Manner(-0.05, 0.03, 3.5, 0.9),
    "disgusted": _Manner(-0.02, 0.03, 3.0, 1.0),
    "fear": _Manner(-0.02, 0.00, 2.2, 1.2),
    "happy": _Manner(-0.02, 0.00, 3.0, 1.15),
    "neutral": _Manner(0.0, 0.0, 3.2, 1.0),
    "sad": _Manner(0.09, 0.07, 2.6, 0.7),
    "surprised": _Manner(-0.04, 0.0, 4.0, 1.1),
}


@dataclass(frozen=True)
class ClipSpec:
    """Everything that determines a clip of the studio.

    Attributes:
        person: id, 0 or more.
        sentence: id in `sentences.TEXTS`.
        emotion: one of `vocabulary.EMOTIONS`.
        intensity: 1 to 3; neutral has 1 only.
        take: 0 or more, tells repetitions apart.
        version: of the studio, one of `people.VERSIONS`.

    Raises:
        InputError: a value that is not accepted.
    """

    person: int
    sentence: int
    emotion: str
    intensity: int
    take: int = 0
    version: int = VERSION

    def __post_init__(self) -> None:
        emotion_index(self.emotion)
        levels = (1,) if self.emotion == "neutral" else INTENSITIES
        if self.intensity not in levels:
            accepted = ", ".join(map(str, levels))
            raise InputError(
                f"intensity {self.intensity!r} of {self.emotion}: accepted are {accepted}"
            )
        if self.sentence not in TEXTS:
            raise InputError(
                f"unknown sentence {self.sentence!r}: accepted are the ids in sentences.TEXTS, "
                "such as 300"
            )
        if self.person < 0 or self.take < 0:
            raise InputError(f"person {self.person!r}, take {self.take!r}: both are 0 or more")
        check_version(self.version)

    @property
    def seed(self) -> tuple[int, ...]:
        """The numbers that seed whatever is particular to this clip."""
        emotion = EMOTIONS.index(self.emotion)
        return (self.person, self.sentence, emotion, self.intensity, self.take)


@dataclass(frozen=True)
class Performance:
    """The truth of T frames at 25 a second.

    Attributes:
        coefficients: (T, 52) float32 in [0, 1], order `vocabulary.ACTIONS`; blinks and the lids'
            part of the gaze included.
        pose: (T, 6) float32: yaw, pitch, roll (radians; positive: to the person's left, down, onto
            the left shoulder), tx, ty (fractions of the head's width; positive: image right, down),
            log of scale.
        gaze: (T, 2) float32 radians in the head's frame: yaw (positive: to the person's left),
            pitch (positive: down).
        viseme: (T,) uint8, positions in `vocabulary.VISEMES`.
        phoneme: (T,) uint8, positions in `vocabulary.PHONEMES`.
        audio: (640 T,) float32 in [-1, 1], 16 kHz.
        scene: seed of light, background and camera.
    """

    coefficients: np.ndarray
    pose: np.ndarray
    gaze: np.ndarray
    viseme: np.ndarray
    phoneme: np.ndarray
    audio: np.ndarray
    scene: int


def utterance_of(spec: ClipSpec) -> Utterance:
    """The request to the synthesiser for a clip."""
    voice = voice_of(spec.person, spec.version)
    text = TEXTS[spec.sentence]
    return utterance(voice, text, spec.emotion, spec.intensity, spec.seed, spec.version)


def act(spec: ClipSpec, speech: Speech | None = None) -> Performance:
    """Act a clip.

    Args:
        spec: which clip.
        speech: the sound of `utterance_of(spec)` where it was made in a batch; by default it is
            made here.

    >>> performance = act(ClipSpec(600, 601, "happy", 2))
    >>> performance.coefficients.shape[1], len(performance.audio) == 640 * len(performance.viseme)
    (52, True)
    """
    return true_edit(spec, spec.emotion, spec.intensity, speech)


def true_edit(
    spec: ClipSpec, emotion: str, intensity: float, speech: Speech | None = None
) -> Performance:
    """The same clip acted again in another emotion: what a perfect edit of it would look like.

    Sound, timing, articulation, pose, gaze, blinks and scene are those of `act(spec)`; the
    emotional actions, and their effect on the speaking mouth, are the person's own for `emotion`.

    Args:
        spec: the clip.
        emotion: of the edit, one of `vocabulary.EMOTIONS`.
        intensity: level, 1 to 3; 0 to 4.5 accepted (level = 3 x the strength of `cdrl edit`). Of no
            effect on neutral.
        speech: as in `act`.

    Returns:
        A performance; with the spec's own emotion and intensity, exactly `act(spec)`.

    Raises:
        InputError: an unknown emotion, or a level outside the range.
    """
    emotion_index(emotion)
    if not 0 <= intensity <= HIGHEST_LEVEL:
        raise InputError(
            f"intensity {intensity!r}: accepted are levels from 0 to {HIGHEST_LEVEL} "
            "(1 to 3 are the labelled ones)"
        )
    track = _track(spec, speech)
    acting = _Acting(spec.person, spec.seed, spec.version)
    coefficients = _emotional_coefficients(track, emotion, intensity, acting)

    return Performance(
        coefficients=coefficients.astype(np.float32),
        pose=track.pose,
        gaze=track.gaze,
        viseme=track.spoken.viseme,
        phoneme=track.spoken.phoneme,
        audio=track.audio,
        scene=_scene_seed(spec),
    )


def _scene_seed(spec: ClipSpec) -> int:
    sequence = np.random.SeedSequence([_CLIP_SEED, *spec.seed])
    return int(sequence.generate_state(1)[0])


def expected_edit(
    spec: ClipSpec,
    emotion: str,
    intensity: float,
    people: tuple[int, ...],
    speech: Speech | None = None,
) -> np.ndarray:
    """The mean of a clip's true edits as other people would act them.

    All that can be known of an edit when the person's own style is not: the mean has the least
    squared error of all answers. Speech, gaze and blinks are the clip's.

    Args:
        spec: the clip.
        emotion: as in `true_edit`.
        intensity: as in `true_edit`.
        people: ids of the others; each acts once.
        speech: as in `act`.

    Returns:
        (T, 52) float32 in [0, 1].
    """
    track = _track(spec, speech)

    edits = []
    for person in people:
        acting = _Acting(person, (person, *spec.seed), spec.version)
        edits.append(_emotional_coefficients(track, emotion, intensity, acting))

    return np.mean(edits, axis=0).astype(np.float32)


# --- what an edit must leave alone ------------------------------------------------------------


@dataclass(frozen=True)
class _Track:
    """Everything of a clip but its emotional actions."""

    spoken: articulation.Articulation
    audio: np.ndarray  # (640 T,)
    pose: np.ndarray  # (T, 6)
    gaze: np.ndarray  # (T, 2)
    blink: np.ndarray  # (T,)


def _track(spec: ClipSpec, speech: Speech | None) -> _Track:
    if speech is None:
        speech = speak_all([utterance_of(spec)])[0]

    rng = np.random.default_rng([_CLIP_SEED, *spec.seed])
    lead = rng.uniform(0.04, 0.14)
    tail = rng.uniform(0.08, 0.20)
    speech = _pad_speech(speech, lead, tail)

    num_frames = len(speech.audio) // SAMPLES_PER_FRAME
    times = articulation.frame_times(num_frames)
    spoken = articulation.articulate(speech, spec.person, num_frames)
    _vary_articulation(spoken.channels, rng, times)

    manner = _MANNERS[spec.emotion]
    scale = expression.intensity_scale(spec.intensity)
    restlessness = manner.restlessness**scale

    pose = _pose(rng, times, spoken, restlessness)
    pose[:, 1] += manner.head_pitch * scale * rng.lognormal(0, 0.4)

    gaze = _gaze(rng, times)
    gaze[:, 1] += manner.gaze_pitch * scale * rng.lognormal(0, 0.4)
    gaze -= 0.5 * pose[:, :2]

    blink = _blinks(rng, times, manner.blink_seconds)

    pose = pose.astype(np.float32)
    gaze = gaze.astype(np.float32)
    return _Track(spoken, speech.audio, pose, gaze, blink)


def _pad_speech(speech: Speech, lead: float, tail: float) -> Speech:
    """The speech with silence before and after it (seconds), in whole frames."""
    before = round(lead * AUDIO_RATE)
    after = round(tail * AUDIO_RATE)
    end = before + len(speech.audio)
    num_frames = math.ceil((end + after) / SAMPLES_PER_FRAME)

    num_samples = num_frames * SAMPLES_PER_FRAME
    audio = np.zeros(num_samples, np.float32)
    audio[before:end] = speech.audio

    lead_seconds = before / AUDIO_RATE
    last_end = speech.end_seconds[-1]
    starts = np.append(speech.start_seconds, last_end) + lead_seconds
    starts[0] = 0  # the utterance's own first silence joins the lead

    clip_seconds = num_samples / AUDIO_RATE
    ends = np.append(starts[1:], clip_seconds)

    phoneme = np.append(speech.phoneme, 0)

    return Speech(audio, phoneme.astype(np.uint8), starts, ends)


def _vary_articulation(channels: np.ndarray, rng: np.random.Generator, times: np.ndarray) -> None:
    """No two takes move alike: each channel's size varies by clip and slowly within it, in place.

    Args:
        channels: (T, 13).
        rng: of the clip.
        times: (T,) seconds.
    """
    num_channels = channels.shape[1]
    channels *= rng.lognormal(0, 0.06, num_channels)
    channels *= 1 + 0.05 * expression.slow_noise(rng, times, num_channels, 3.0)


def _pose(
    rng: np.random.Generator,
    times: np.ndarray,
    spoken: articulation.Articulation,
    restlessness: float,
) -> np.ndarray:
    """(T, 6) pose of the head: a mean, slow drift, and small nods on open vowels."""
    mean = rng.normal(0, _POSE_SCATTER)
    noise = expression.slow_noise(rng, times, 6, 0.9)
    drift = noise * _DRIFT_SCATTER * restlessness
    pose = mean + drift

    size = rng.normal(0.10, 0.08)
    nods = _smooth_jaw(spoken) * size
    pose[:, 1] += nods * restlessness

    return np.clip(pose, -_POSE_LIMITS, _POSE_LIMITS)


def _smooth_jaw(spoken: articulation.Articulation) -> np.ndarray:
    """(T,) opening of the jaw, about its mean, smoothed over nine frames."""
    jaw = spoken.channels[:, 0]
    window = np.hanning(9)
    return np.convolve(jaw - jaw.mean(), window / window.sum(), mode="same")


def _gaze(rng: np.random.Generator, times: np.ndarray) -> np.ndarray:
    """(T, 2) fixations of about .7 s joined by saccades of one or two frames."""
    num_saccades = int(times[-1] / 0.2) + 2
    intervals = rng.gamma(3.0, 0.23, num_saccades)
    saccades = np.cumsum(intervals) - 0.4  # seconds

    num_fixations = num_saccades + 1
    fixations = rng.normal(0, _GAZE_SCATTER, (num_fixations, 2))
    is_wide = rng.random(num_fixations) < 0.25
    fixations[is_wide] *= 2.0

    since = times[:, None] - saccades
    progress = np.clip(since / 0.05, 0, 1)
    jumps = np.diff(fixations, axis=0)

    return fixations[0] + progress @ jumps


def _blinks(rng: np.random.Generator, times: np.ndarray, interval: float) -> np.ndarray:
    """(T,) 0 to 1: lids shut; 80 ms to close, 160 ms to open."""
    starts = np.cumsum(rng.gamma(2.0, interval / 2, 8)) - rng.uniform(0, interval)
    since = times[:, None] - starts
    closing = np.interp(since, _BLINK_SECONDS, _BLINK_CLOSING, left=0, right=0)
    return closing.max(1) * rng.uniform(0.9, 1.0)


class _Acting(NamedTuple):
    """Whose style, which clip's choice, and which version of the studio."""

    person: int
    seed: tuple[int, ...]
    version: int


def _emotional_coefficients(
    track: _Track, emotion: str, intensity: float, acting: _Acting
) -> np.ndarray:
    """(T, 52) in [0, 1]: a person's emotion over what is said."""
    times = articulation.frame_times(len(track.pose))
    person, seed, version = acting
    emotional = expression.express(person, emotion, intensity, seed, times, version)

    scale = expression.intensity_scale(intensity)

    speaking = expression.ARTICULATION_OF_VERSION[version][emotion]
    coefficients = _combine_mouth(track.spoken, emotional, speaking, scale)
    _add_eyes(coefficients, track.blink, track.gaze)

    return np.clip(coefficients, 0, 1)


# --- speech and emotion in one mouth ----------------------------------------------------------


@dataclass(frozen=True)
class _SpeakingMouth:
    """What limits the mouth's actions in T frames; all arrays are (T,)."""

    channel: dict[str, np.ndarray]  # speech movement by name of `articulation.CHANNELS`
    closure: np.ndarray  # 1 where the lips must touch
    free: np.ndarray  # 1 where they need not
    jaw: np.ndarray  # opening, of speech and emotion
    smile: np.ndarray  # mean of both sides, of the emotion
    stretch: np.ndarray  # mean of both sides, of the emotion

    @property
    def rounding(self) -> np.ndarray:
        """(T,) 0 to 1, of speech."""
        pucker = self.channel["pucker"]
        return np.clip(pucker + 0.6 * self.channel["funnel"], 0, 1)

    @property
    def opening(self) -> np.ndarray:
        """(T,) 0 with a shut jaw, 1 from an opening of .3 on."""
        return np.clip(self.jaw / 0.3, 0, 1)

    @property
    def shut(self) -> np.ndarray:
        """(T,) 1 with a shut jaw, 0 from an opening of .3 on."""
        return np.clip(1 - self.jaw / 0.3, 0, 1)


def _views_by_name(coefficients: np.ndarray) -> dict[str, np.ndarray]:
    """Facial action -> its column (T,) of coefficients (T, 52), to be changed in place."""
    return dict(zip(ACTIONS, coefficients.T, strict=True))


def _combine_mouth(
    spoken: articulation.Articulation,
    emotional: np.ndarray,
    speaking: tuple[float, float],
    scale: float,
) -> np.ndarray:
    """The speaking mouth inside the emotional face.

    Rounding gives way to a smile and a smile to rounding; lips press only while the mouth is nearly
    shut; an open jaw shows more of a raised lip. A closure overrides everything: the jaw shuts and
    no lip is parted.

    Args:
        spoken: movement of the mouth without emotion.
        emotional: (T, 52) actions without speech.
        speaking: factors of the jaw's and the lips' movement in speech, of the emotion.
        scale: of the emotion's intensity.

    Returns:
        (T, 52), not yet clipped.
    """
    coefficients = emotional.copy()
    actions = _views_by_name(coefficients)
    mouth = _speaking_mouth(spoken, actions, speaking, scale)
    _set_jaw(actions, mouth)
    _set_rounding(actions, mouth)
    for side in _SIDES:
        _set_corner(actions, side, mouth)
        _set_lips(actions, side, mouth)

    _set_inner_lips(actions, mouth)

    return coefficients


def _speaking_mouth(
    spoken: articulation.Articulation,
    emotional: dict[str, np.ndarray],
    speaking: tuple[float, float],
    scale: float,
) -> _SpeakingMouth:
    jaw_factor, lip_factor = speaking
    exponent = min(scale, 1.2)
    jaw_gain = jaw_factor**exponent
    lip_gain = lip_factor**exponent

    scaled = spoken.channels.T * lip_gain
    channel = dict(zip(articulation.CHANNELS, scaled, strict=True))

    speech_jaw = channel["jaw"] * jaw_gain / lip_gain
    room = 1 - 0.4 * channel["jaw"]
    jaw = speech_jaw + emotional["jawOpen"] * room

    free = 1 - spoken.closure
    closed_jaw = spoken.closure * np.minimum(jaw, 0.05)

    smile = _mean_of_sides(emotional, "mouthSmile")
    stretch = _mean_of_sides(emotional, "mouthStretch")

    return _SpeakingMouth(channel, spoken.closure, free, free * jaw + closed_jaw, smile, stretch)


def _mean_of_sides(actions: dict[str, np.ndarray], name: str) -> np.ndarray:
    """(T,) mean of an action's left and right side."""
    return (actions[f"{name}Left"] + actions[f"{name}Right"]) / 2


def _set_jaw(actions: dict[str, np.ndarray], mouth: _SpeakingMouth) -> None:
    """Opening of the jaw, lips that close over it, and the tongue in it, in place."""
    close = np.minimum(mouth.channel["close"], 0.5 * mouth.jaw)
    forced_close = mouth.closure * mouth.jaw
    actions["jawOpen"][:] = mouth.jaw
    actions["mouthClose"][:] = forced_close + mouth.free * close
    actions["jawForward"] += mouth.channel["forward"]

    has_room = np.clip(mouth.jaw / 0.12, 0, 1)
    tongue = mouth.channel["tongue"] * has_room
    actions["tongueOut"][:] = tongue * mouth.free


def _set_rounding(actions: dict[str, np.ndarray], mouth: _SpeakingMouth) -> None:
    """Pucker and funnel of speech, less in a wide mouth, added to the emotion's, in place."""
    width = 1 - 0.45 * mouth.smile - 0.35 * mouth.stretch
    narrow = np.clip(width, 0, 1)

    spoken_pucker = mouth.channel["pucker"] * narrow
    spoken_funnel = mouth.channel["funnel"] * narrow
    parting = 0.4 + 0.6 * mouth.free

    actions["mouthPucker"] += spoken_pucker
    actions["mouthFunnel"] *= parting
    actions["mouthFunnel"] += spoken_funnel


def _set_corner(actions: dict[str, np.ndarray], side: str, mouth: _SpeakingMouth) -> None:
    """Dimple, smile and stretch of one side of the mouth, in place."""
    room = 1 - 0.3 * mouth.smile
    unrounded = 1 - 0.4 * mouth.rounding

    actions[f"mouthDimple{side}"] += mouth.channel["dimple"] * room
    actions[f"mouthSmile{side}"] *= unrounded - 0.15 * mouth.closure

    stretch = actions[f"mouthStretch{side}"]
    stretch *= unrounded
    stretch += mouth.channel["wide"] * room


def _set_lips(actions: dict[str, np.ndarray], side: str, mouth: _SpeakingMouth) -> None:
    """Upper lip, lower lip and press of one side of the mouth, in place."""
    parting = mouth.free * (0.65 + 0.35 * mouth.opening)

    upper = actions[f"mouthUpperUp{side}"]
    upper *= parting
    upper += mouth.channel["upper"] * mouth.free

    lower = actions[f"mouthLowerDown{side}"]
    lower *= parting
    lower += mouth.channel["lower"] * mouth.free

    press = actions[f"mouthPress{side}"]
    share = 0.15 + 0.85 * mouth.shut
    press *= share
    np.maximum(press, mouth.channel["press"], out=press)


def _set_inner_lips(actions: dict[str, np.ndarray], mouth: _SpeakingMouth) -> None:
    """Rolled and shrugged lips: of the emotion while the jaw is shut, and of speech, in place."""
    share = 0.3 + 0.7 * mouth.shut
    for name in ("mouthRollLower", "mouthRollUpper", "mouthShrugLower"):
        actions[name] *= share

    channel = mouth.channel
    actions["mouthRollLower"] += channel["tuck"]
    actions["mouthRollUpper"] += 0.4 * channel["press"]
    actions["mouthShrugUpper"] += channel["shrug"]


def _add_eyes(coefficients: np.ndarray, blink: np.ndarray, gaze: np.ndarray) -> None:
    """Blinks over drooping or widened lids, and the eyeLook actions of the gaze, in place.

    Args:
        coefficients: (T, 52).
        blink: (T,) 0 to 1.
        gaze: (T, 2) radians, yaw and pitch.
    """
    actions = _views_by_name(coefficients)
    yaw, pitch = gaze.T / np.array(_GAZE_RANGE)[:, None]
    for side in _SIDES:
        lid = actions[f"eyeBlink{side}"]
        np.maximum(lid, blink, out=lid)
        actions[f"eyeWide{side}"] *= 1 - blink
        actions[f"eyeSquint{side}"] *= 1 - blink

        outward = yaw if side == "Left" else -yaw
        look = {"Out": outward, "In": -outward, "Down": pitch, "Up": -pitch}
        for direction, angle in look.items():
            actions[f"eyeLook{direction}{side}"][:] = np.maximum(angle, 0)
