"""A clip from its description: what is said, by whom, how; the truth of every frame; the same clip in another emotion.

    spec --speech--> phonemes and sound --articulation--> jaw and lips -+
      |                                                                 +--> 52 facial actions
      +--expression--> facial actions of the emotion -------------------+
      +--> head pose, gaze, blinks, scene

`act` and `true_edit` are one function that differs in the emotion put on top, so the edit's truth cannot drift from the
clip. Everything is a function of the spec.
"""

from dataclasses import dataclass

import numpy as np

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS, EMOTIONS, INTENSITIES, emotion_index
from cdrl.studio import articulation, expression
from cdrl.studio.sentences import TEXTS
from cdrl.studio.speech import AUDIO_RATE, Speech, Utterance, speak_all, utterance, voice_of

SAMPLES_PER_FRAME = 640  # 16 kHz / 25 fps
_CLIP_SEED, _GAZE_RANGE = (
    41,
    (0.6, 0.45),
)  # radians of yaw and pitch at which an eyeLook action is 1
_COLUMN = {name: index for index, name in enumerate(ACTIONS)}
# Emotion at level 3 -> head pitch (radians, positive is down), gaze pitch, seconds between blinks, restlessness.
_MANNER = {
    "angry": (0.05, 0.00, 3.5, 1.15),
    "contempt": (-0.05, 0.03, 3.5, 0.9),
    "disgusted": (-0.02, 0.03, 3.0, 1.0),
    "fear": (-0.02, 0.00, 2.2, 1.2),
    "happy": (-0.02, 0.00, 3.0, 1.15),
    "neutral": (0.0, 0.0, 3.2, 1.0),
    "sad": (0.09, 0.07, 2.6, 0.7),
    "surprised": (-0.04, 0.0, 4.0, 1.1),
}


@dataclass(frozen=True)
class ClipSpec:
    """Everything that determines a clip of the studio.

    Attributes:
        person: id, 0 or more. sentence: id in `sentences.TEXTS`. emotion: one of `vocabulary.EMOTIONS`.
        intensity: 1 to 3; neutral has 1 only. take: tells repetitions apart.
    """

    person: int
    sentence: int
    emotion: str
    intensity: int
    take: int = 0

    def __post_init__(self):
        levels = (1,) if self.emotion == "neutral" else INTENSITIES
        emotion_index(self.emotion)
        if self.intensity not in levels:
            raise InputError(
                f"intensity {self.intensity!r} of {self.emotion}: accepted are {', '.join(map(str, levels))}"
            )
        if self.sentence not in TEXTS:
            raise InputError(
                f"unknown sentence {self.sentence!r}: accepted are the ids in sentences.TEXTS, such as 300"
            )
        if self.person < 0 or self.take < 0:
            raise InputError(f"person {self.person!r}, take {self.take!r}: both are 0 or more")

    @property
    def seed(self) -> tuple[int, ...]:
        """The numbers that seed whatever is particular to this clip."""
        return (self.person, self.sentence, EMOTIONS.index(self.emotion), self.intensity, self.take)


@dataclass(frozen=True)
class Performance:
    """T frames at 25 fps.

    Attributes:
        coefficients: (T, 52) float32 in [0, 1], order `vocabulary.ACTIONS`; blinks and the lids' share of gaze
            included.
        pose: (T, 6) float32: yaw, pitch, roll (radians; positive: to the person's left, down, onto the left shoulder),
            tx, ty (fractions of the head's width; positive: image right, down), log of scale.
        gaze: (T, 2) float32 radians in the head's frame: yaw (positive: to the person's left), pitch (positive: down).
        viseme, phoneme: (T,) uint8, positions in `vocabulary.VISEMES` and `PHONEMES`.
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
    """What the synthesiser is asked for, for this clip."""
    return utterance(
        voice_of(spec.person), TEXTS[spec.sentence], spec.emotion, spec.intensity, spec.seed
    )


def act(spec: ClipSpec, speech: Speech | None = None) -> Performance:
    """The clip.

    Args:
        speech: the answer to `utterance_of(spec)` where it was asked for in a batch; else it is asked for here.

    >>> performance = act(ClipSpec(600, 601, "happy", 2))
    >>> performance.coefficients.shape[1], len(performance.audio) == 640 * len(performance.viseme)
    (52, True)
    """
    return true_edit(spec, spec.emotion, spec.intensity, speech)


def true_edit(
    spec: ClipSpec, emotion: str, intensity: float, speech: Speech | None = None
) -> Performance:
    """The same clip re-acted in another emotion: what a perfect edit of it would look like.

    Sound, timing, articulation, pose, gaze, blinks and scene are those of `act(spec)`; the emotional actions, and what
    they do to the speaking mouth, are the person's own for `emotion`.

    Args:
        intensity: level, 1 to 3; 0 to 4.5 accepted (level = 3 x the strength of `cdrl edit`). Of no effect on neutral.

    Returns:
        a Performance; with the spec's own emotion and intensity, exactly `act(spec)`.
    """
    emotion_index(emotion)
    if not 0 <= intensity <= 4.5:
        raise InputError(
            f"intensity {intensity!r}: accepted are levels from 0 to 4.5 (1 to 3 are the labelled ones)"
        )
    track = _track(spec, speech or speak_all([utterance_of(spec)])[0])
    return Performance(
        coefficients=_acted(track, emotion, intensity, spec.person, spec.seed).astype(np.float32),
        pose=track.pose,
        gaze=track.gaze,
        viseme=track.spoken.viseme,
        phoneme=track.spoken.phoneme,
        audio=track.audio,
        scene=int(np.random.SeedSequence([_CLIP_SEED, *spec.seed]).generate_state(1)[0]),
    )


def expected_edit(
    spec: ClipSpec,
    emotion: str,
    intensity: float,
    people: tuple[int, ...],
    speech: Speech | None = None,
) -> np.ndarray:
    """The mean of a clip's true edits acted as others act: all that can be known of an edit when the person's own way is not.

    Speech, gaze and blinks are the clip's. The mean has the least squared error of all answers.

    Args:
        people: ids of those others; each acts once. intensity, speech: as in `true_edit`.

    Returns:
        (T, 52) in [0, 1].
    """
    track = _track(spec, speech or speak_all([utterance_of(spec)])[0])
    takes = [_acted(track, emotion, intensity, person, (person, *spec.seed)) for person in people]
    return np.mean(takes, axis=0).astype(np.float32)


# --- what an edit must leave alone -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Track:
    spoken: articulation.Articulation
    audio: np.ndarray
    pose: np.ndarray
    gaze: np.ndarray
    blink: np.ndarray


def _track(spec: ClipSpec, speech: Speech) -> _Track:
    """Everything of a clip but its emotional actions."""
    rng = np.random.default_rng([_CLIP_SEED, *spec.seed])
    speech = _in_clip(speech, lead=rng.uniform(0.04, 0.14), tail=rng.uniform(0.08, 0.20))
    num_frames = len(speech.audio) // SAMPLES_PER_FRAME
    times = articulation.frame_times(num_frames)
    spoken = articulation.articulate(speech, spec.person, num_frames)
    spoken.channels[:] *= rng.lognormal(0, 0.06, spoken.channels.shape[1])
    spoken.channels[:] *= 1 + 0.05 * expression.slow_noise(
        rng, times, spoken.channels.shape[1], 3.0
    )
    pitch, look, between_blinks, restless = _MANNER[spec.emotion]
    scale = expression.intensity_scale(spec.intensity)
    pose = _pose(rng, times, spoken, restless**scale)
    pose[:, 1] += pitch * scale * rng.lognormal(0, 0.4)
    gaze = _gaze(rng, times) + [0, look * scale * rng.lognormal(0, 0.4)] - 0.5 * pose[:, :2]
    blink = _blinks(rng, times, between_blinks)
    return _Track(spoken, speech.audio, pose.astype(np.float32), gaze.astype(np.float32), blink)


def _in_clip(speech: Speech, lead: float, tail: float) -> Speech:
    """The speech with silence before and after it, in whole frames."""
    before = round(lead * AUDIO_RATE)
    length = before + len(speech.audio) + round(tail * AUDIO_RATE)
    audio = np.zeros(-(-length // SAMPLES_PER_FRAME) * SAMPLES_PER_FRAME, np.float32)
    audio[before : before + len(speech.audio)] = speech.audio
    start = np.append(speech.start_seconds, speech.end_seconds[-1]) + before / AUDIO_RATE
    start[0] = 0  # the utterance's own first silence joins the lead
    end = np.append(start[1:], len(audio) / AUDIO_RATE)
    return Speech(audio, np.append(speech.phoneme, 0).astype(np.uint8), start, end)


def _pose(rng, times: np.ndarray, spoken: articulation.Articulation, restless: float) -> np.ndarray:
    """(T, 6) where the head is: a place, slow drift, and small nods on open vowels."""
    place = rng.normal(0, [0.10, 0.06, 0.04, 0.03, 0.03, 0.04])
    drift = (
        expression.slow_noise(rng, times, 6, 0.9)
        * [0.045, 0.030, 0.025, 0.010, 0.008, 0.008]
        * restless
    )
    jaw = spoken.channels[:, 0] - spoken.channels[:, 0].mean()
    nods = (
        np.convolve(jaw, np.hanning(9) / np.hanning(9).sum(), mode="same")
        * rng.normal(0.10, 0.08)
        * restless
    )
    pose = place + drift
    pose[:, 1] += nods
    return np.clip(
        pose, [-0.45, -0.3, -0.25, -0.12, -0.12, -0.15], [0.45, 0.3, 0.25, 0.12, 0.12, 0.15]
    )


def _gaze(rng, times: np.ndarray) -> np.ndarray:
    """(T, 2) fixations of about .7 s joined by saccades of one or two frames."""
    number = int(times[-1] / 0.2) + 2
    start = np.cumsum(rng.gamma(3.0, 0.23, number)) - 0.4
    points = (
        rng.normal(0, [0.07, 0.04], (number + 1, 2))
        * np.where(rng.random(number + 1) < 0.25, 2.0, 1.0)[:, None]
    )
    moved = np.clip((times[:, None] - start) / 0.05, 0, 1)
    return points[0] + moved @ np.diff(points, axis=0)


def _blinks(rng, times: np.ndarray, between: float) -> np.ndarray:
    """(T,) 0 to 1: lids shut; 80 ms to close, 160 ms to open."""
    start = np.cumsum(rng.gamma(2.0, between / 2, 8)) - rng.uniform(0, between)
    since = times[:, None] - start
    shape = np.interp(since, [0, 0.08, 0.12, 0.28], [0, 1, 1, 0], left=0, right=0)
    return shape.max(1) * rng.uniform(0.9, 1.0)


def _acted(
    track: _Track, emotion: str, intensity: float, person: int, seed: tuple[int, ...]
) -> np.ndarray:
    """(T, 52) in [0, 1]: a person's emotion over what is said."""
    emotional = expression.express(
        person, emotion, intensity, seed, articulation.frame_times(len(track.pose))
    )
    coefficients = _join(track.spoken, emotional, emotion, expression.intensity_scale(intensity))
    _add_eyes(coefficients, track.blink, track.gaze)
    return np.clip(coefficients, 0, 1)


# --- speech and emotion in one mouth ---------------------------------------------------------------------------------


def _both(name: str) -> list[int]:
    return [_COLUMN[f"{name}Left"], _COLUMN[f"{name}Right"]]


def _join(
    spoken: articulation.Articulation, emotional: np.ndarray, emotion: str, scale: float
) -> np.ndarray:
    """(T, 52): the speaking mouth inside the emotional face.

    Rounding gives way to a smile and a smile to rounding; lips press only while the mouth is nearly shut; an open jaw
    shows more of a raised lip. A closure overrides everything: the jaw shuts and no lip is parted.
    """
    jaw_gain, lip_gain = (factor ** min(scale, 1.2) for factor in expression.ARTICULATION[emotion])
    said = dict(zip(articulation.CHANNELS, spoken.channels.T * lip_gain))
    free = 1 - spoken.closure
    out = emotional.copy()
    smile = emotional[:, _both("mouthSmile")].mean(1)
    stretch = emotional[:, _both("mouthStretch")].mean(1)
    rounding = np.clip(said["pucker"] + 0.6 * said["funnel"], 0, 1)
    jaw = said["jaw"] * jaw_gain / lip_gain + emotional[:, _COLUMN["jawOpen"]] * (
        1 - 0.4 * said["jaw"]
    )
    out[:, _COLUMN["jawOpen"]] = jaw = free * jaw + spoken.closure * np.minimum(jaw, 0.05)
    out[:, _COLUMN["mouthClose"]] = spoken.closure * jaw + free * np.minimum(
        said["close"], 0.5 * jaw
    )
    slack = np.clip(1 - jaw / 0.3, 0, 1)
    narrow = np.clip(1 - 0.45 * smile - 0.35 * stretch, 0, 1)
    out[:, _COLUMN["mouthPucker"]] = said["pucker"] * narrow + emotional[:, _COLUMN["mouthPucker"]]
    out[:, _COLUMN["mouthFunnel"]] = said["funnel"] * narrow + emotional[
        :, _COLUMN["mouthFunnel"]
    ] * (0.4 + 0.6 * free)
    for side in ("Left", "Right"):
        column = {
            name: _COLUMN[f"mouth{name}{side}"]
            for name in ("Smile", "Stretch", "UpperUp", "LowerDown", "Press")
        }
        out[:, _COLUMN[f"mouthDimple{side}"]] += said["dimple"] * (1 - 0.3 * smile)
        out[:, column["Smile"]] *= 1 - 0.4 * rounding - 0.15 * spoken.closure
        out[:, column["Stretch"]] = out[:, column["Stretch"]] * (1 - 0.4 * rounding) + said[
            "wide"
        ] * (1 - 0.3 * smile)
        parted = free * (0.65 + 0.35 * np.clip(jaw / 0.3, 0, 1))
        out[:, column["UpperUp"]] = out[:, column["UpperUp"]] * parted + said["upper"] * free
        out[:, column["LowerDown"]] = out[:, column["LowerDown"]] * parted + said["lower"] * free
        out[:, column["Press"]] = np.maximum(
            out[:, column["Press"]] * (0.15 + 0.85 * slack), said["press"]
        )
    for name in ("mouthRollLower", "mouthRollUpper", "mouthShrugLower"):
        out[:, _COLUMN[name]] *= 0.3 + 0.7 * slack
    out[:, _COLUMN["mouthRollLower"]] += said["tuck"]
    out[:, _COLUMN["mouthRollUpper"]] += 0.4 * said["press"]
    out[:, _COLUMN["mouthShrugUpper"]] += said["shrug"]
    out[:, _COLUMN["jawForward"]] += said["forward"]
    out[:, _COLUMN["tongueOut"]] = said["tongue"] * np.clip(jaw / 0.12, 0, 1) * free
    return out


def _add_eyes(coefficients: np.ndarray, blink: np.ndarray, gaze: np.ndarray) -> None:
    """Blinks over drooping or widened lids; the eyeLook actions that belong to the gaze. In place."""
    for name in _both("eyeBlink"):
        coefficients[:, name] = np.maximum(coefficients[:, name], blink)
    for name in [*_both("eyeWide"), *_both("eyeSquint")]:
        coefficients[:, name] *= 1 - blink
    yaw, pitch = gaze.T / np.array(_GAZE_RANGE)[:, None]
    for side, outward in (("Left", yaw), ("Right", -yaw)):
        coefficients[:, _COLUMN[f"eyeLookOut{side}"]] = np.maximum(outward, 0)
        coefficients[:, _COLUMN[f"eyeLookIn{side}"]] = np.maximum(-outward, 0)
        coefficients[:, _COLUMN[f"eyeLookDown{side}"]] = np.maximum(pitch, 0)
        coefficients[:, _COLUMN[f"eyeLookUp{side}"]] = np.maximum(-pitch, 0)
