"""How far the studio's people move, how their tempo differs, and how fast they are rendered.

python scripts/measure_studio.py [--people 24] [--size 128] [--only movement,reading,tempo,speed]

Movement: level 3 less neutral of the same clip, in outer-eye distances, rigid motion left out; mean
over clips, and root mean square over people of their mean. Reading: what two expression networks
that others trained on real faces see of it, ten people. Tempo: how far a straight line from the
first to the last phoneme misses the others. Speed: processor seconds of one core, versions in turn.
"""

import argparse
import time
from itertools import combinations

import numpy as np

from cdrl.core.vocabulary import EMOTIONS, SCORED_EMOTIONS
from cdrl.media import faces
from cdrl.studio.acting import ClipSpec, act, true_edit, utterance_of
from cdrl.studio.corpus import SPLITS, render_clean
from cdrl.studio.head import LANDMARKS, load_head
from cdrl.studio.people import VERSIONS, person_vertices, sample_person
from cdrl.studio.recording import record, sample_recording
from cdrl.studio.render import action_shapes
from cdrl.studio.speech import Speech, speak_all

MEASURES = ("inner brow", "outer brow", "upper lid", "mouth opening", "mouth width")
MOVED = tuple(emotion for emotion in EMOTIONS if emotion != "neutral")
STRONGEST = 3
MILLISECONDS = 1000
SENTENCES = 4
READ_SIZE, READ_FRAMES, READ_CROP = 192, 6, 160  # pixels, frames of a clip, pixels
PARTS = ("movement", "reading", "tempo", "speed")


# --- movement ---------------------------------------------------------------------------------


def lid_vertices() -> np.ndarray:
    """(2,) vertices of the upper lids, right and left, that a blink lowers most."""
    head = load_head()
    vertices = []
    for side in ("Right", "Left"):
        moved = head.actions.displacement({f"eyeBlink{side}": 1.0}, len(head.vertices))
        is_skin = head.part == 0
        vertices.append(np.argmin(np.where(is_skin, moved[:, 1], 0)))
    return np.array(vertices)


def measures_of(positions: np.ndarray, unit: float) -> np.ndarray:
    """(T, 5) the measures of `MEASURES`.

    Args:
        positions: (T, L + 2, 3) landmarks and both upper lids, dm.
        unit: outer-eye distance at rest, dm.
    """

    def mean(*names: str) -> np.ndarray:
        return positions[:, [LANDMARKS.index(name) for name in names]].mean(1)

    eyes = mean("right_eye_outer", "right_eye_inner", "left_eye_inner", "left_eye_outer")
    inner = mean("right_brow_inner", "left_brow_inner") - eyes
    outer = mean("right_brow_outer", "left_brow_outer") - eyes
    lids = positions[:, -2:].mean(1) - eyes
    opening = mean("upper_lip_inner") - mean("lower_lip_inner")
    width = mean("mouth_left") - mean("mouth_right")

    columns = [inner[:, 1], outer[:, 1], lids[:, 1], opening[:, 1], width[:, 0]]
    return np.stack(columns, 1) / unit


def measure(spec: ClipSpec, coefficients: np.ndarray) -> np.ndarray:
    """(5,) mean measures of a clip's person under actions (T, 52)."""
    head = load_head()
    vertices = np.concatenate([head.landmarks, lid_vertices()])
    neutral = person_vertices(sample_person(spec.person, spec.version))[vertices]
    shapes = action_shapes(spec.version)
    displacements = []
    for name in shapes.names:
        displacements.append(shapes.displacement({name: 1.0}, len(head.vertices))[vertices])
    positions = neutral + np.einsum("ta,alx->tlx", coefficients, np.stack(displacements))
    outer = neutral[[LANDMARKS.index("left_eye_outer"), LANDMARKS.index("right_eye_outer")]]
    unit = float(np.linalg.norm(outer[0] - outer[1]))
    return measures_of(positions, unit).mean(0)


def print_movement(version: int, people: int) -> None:
    """Print the movement of each emotion at level 3."""
    moves: dict[str, list[np.ndarray]] = {emotion: [] for emotion in MOVED}
    split = SPLITS["choose"]
    for number, person in enumerate(split.people[:people]):
        sentence = split.sentences[number % len(split.sentences)]
        spec = ClipSpec(person, sentence, "neutral", 1, version=version)
        speech = speak_all([utterance_of(spec)])[0]
        rest = measure(spec, act(spec, speech).coefficients)
        for emotion in MOVED:
            edit = true_edit(spec, emotion, STRONGEST, speech)
            moves[emotion].append(measure(spec, edit.coefficients) - rest)

    print(f"version {version}, {people} people, level 3 less neutral: mean (root mean square)")
    print(f"{'':10}" + "".join(f"{name:>18}" for name in MEASURES))
    for emotion, values in moves.items():
        table = np.stack(values)
        rms = np.sqrt(np.square(table).mean(0))
        pairs = zip(table.mean(0), rms, strict=True)
        print(f"{emotion:10}" + "".join(f"{mean:10.3f} ({size:.3f})" for mean, size in pairs))


# --- what networks trained on real faces read -------------------------------------------------


def print_reading(version: int, people: int) -> None:
    """Print the probability of each emotion at level 3, by two networks trained on real faces."""
    from cdrl.evaluation.real_networks import RealNetworks  # here: its imports take seconds

    networks = RealNetworks()
    probabilities: dict[str, list[float]] = {emotion: [] for emotion in SCORED_EMOTIONS}
    num_top = dict.fromkeys(SCORED_EMOTIONS, 0)
    split = SPLITS["choose"]
    for number, person in enumerate(split.people[:people]):
        sentence = split.sentences[number % len(split.sentences)]
        spec = ClipSpec(person, sentence, "neutral", 1, version=version)
        speech = speak_all([utterance_of(spec)])[0]
        rest, _ = render_clean(spec, act(spec, speech), READ_SIZE)
        found = faces.align(rest, name=str(person))
        numbers = np.linspace(0, len(rest) - 1, READ_FRAMES).round().astype(int)
        alignment = faces.Alignment(found.transforms[numbers], found.mouth_box)
        for index, emotion in enumerate(SCORED_EMOTIONS):
            edit = true_edit(spec, emotion, STRONGEST, speech)
            frames, _ = render_clean(spec, edit, READ_SIZE)
            crops = faces.crop(frames[numbers], alignment, READ_CROP)
            read = networks.expressions(crops).mean(0)
            probabilities[emotion].append(float(read[index]))
            num_top[emotion] += int(read.argmax() == index)

    parts = []
    for emotion, values in probabilities.items():
        parts.append(f"{emotion} {np.mean(values):.2f} ({num_top[emotion]} of {len(values)})")
    print(f"version {version}, probability by real networks (top class): {', '.join(parts)}")


# --- tempo ------------------------------------------------------------------------------------


def line_error(first: Speech, second: Speech) -> float:
    """Mean distance (ms) of one speech's phoneme times to a straight line from the other's."""
    starts = [speech.start_seconds[speech.phoneme != 0] for speech in (first, second)]
    if len(starts[0]) != len(starts[1]):
        return float("nan")
    begin, end = ((times[0], times[-1]) for times in starts)
    predicted = np.interp(starts[0], [begin[0], begin[1]], [end[0], end[1]])
    return float(np.abs(predicted - starts[1]).mean() * MILLISECONDS)


def print_tempo(version: int, people: int) -> None:
    """Print how far straight lines between the phoneme times of two emotions miss."""
    split = SPLITS["choose"]
    errors: dict[str, list[float]] = {emotion: [] for emotion in EMOTIONS}
    for person in split.people[:people]:
        for sentence in split.sentences[:SENTENCES]:
            specs = []
            for emotion in EMOTIONS:
                level = 1 if emotion == "neutral" else STRONGEST
                specs.append(ClipSpec(person, sentence, emotion, level, version=version))
            speeches = speak_all([utterance_of(spec) for spec in specs])
            spoken = dict(zip(EMOTIONS, speeches, strict=True))
            for first, second in combinations(EMOTIONS, 2):
                error = line_error(spoken[first], spoken[second])
                errors[first].append(error)
                errors[second].append(error)

    every = np.concatenate(list(errors.values()))
    unlike = np.isnan(every).mean()
    of_emotions = [f"{name} {np.nanmean(values):.0f}" for name, values in errors.items()]
    print(
        f"version {version}: a straight line misses by {np.nanmean(every):.0f} ms "
        f"({', '.join(of_emotions)}); other phonemes in {unlike:.1%} of pairs"
    )


# --- speed ------------------------------------------------------------------------------------


def print_speed(people: int, size: int) -> None:
    """Print frames a second of geometry and shading, and of the camera, versions in turn."""
    seconds = dict.fromkeys([*VERSIONS, "camera"], 0.0)
    frames = dict.fromkeys([*VERSIONS, "camera"], 0)
    split = SPLITS["choose"]
    for turn in range(2):
        for number, person in enumerate(split.people[:people]):
            for version in VERSIONS:
                emotion = MOVED[number % len(MOVED)]
                sentence = split.sentences[number % len(split.sentences)]
                spec = ClipSpec(person, sentence, emotion, 2, version=version)
                performance = act(spec)
                render_clean(spec, performance, size)  # compiles and paints
                start = time.process_time()
                rendered, _ = render_clean(spec, performance, size)
                seconds[version] += time.process_time() - start
                frames[version] += len(rendered)

                if version > 1:
                    camera = sample_recording(performance.scene)
                    if turn == 0 and number == 0:
                        record(camera, rendered)
                    start = time.process_time()
                    record(camera, rendered)
                    seconds["camera"] += time.process_time() - start
                    frames["camera"] += len(rendered)

    rates = {name: frames[name] / seconds[name] for name in seconds}
    print(f"{size} px, one core, frames a second of processor time, {people} people:")
    for version in VERSIONS:
        print(f"  version {version}, geometry and shading: {rates[version]:.0f}")
    print(f"  version 2 takes {rates[1] / rates[2]:.2f} times as long as version 1")
    print(f"  the camera of version 2 (colour, blur, noise, compression): {rates['camera']:.0f}")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=24)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--only", default=",".join(PARTS), help="movement, reading, tempo, speed")
    options = parser.parse_args()
    parts = options.only.split(",")
    for version in VERSIONS:
        if "movement" in parts:
            print_movement(version, options.people)
        if "reading" in parts:
            print_reading(version, min(options.people, 10))
        if "tempo" in parts:
            print_tempo(version, options.people)
    if "speed" in parts:
        print_speed(options.people, options.size)


if __name__ == "__main__":
    main()
