"""The renderer: exact repetition, and faces that do what their coefficients say."""

from dataclasses import replace

import numpy as np
import pytest

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS
from cdrl.studio.head import load_head
from cdrl.studio.looks import BEARDS, GLASSES, PLAIN, Beard, Glasses
from cdrl.studio.people import sample_person, sample_scene
from cdrl.studio.recording import CODECS, Recording, record, sample_recording
from cdrl.studio.render import LANDMARKS, action_shapes, person_model, render

PERFECT = Recording(
    seed=1,
    exposure=0.0,
    white_balance=(1.0, 1.0),
    saturation=1.0,
    contrast=1.0,
    blur=0.0,
    scale=1.0,
    read_noise=0.0,
    shot_noise=0.0,
    codec="none",
    quality=0.0,
)
FULL_BEARD = Beard("full", 1.0, 0.2, 1.0, 0.05, 0.0, (0.1, 0.07, 0.05), 0.0)
ROUND_GLASSES = Glasses("round", 0.25, 0.25, 0.035, (0.05, 0.05, 0.05), 0.0, 0.02)
PEOPLE, SIZE = (0, 4, 9), 64


def still_inputs(frames=1, **actions):
    """Still pose and gaze; actions by name, one value for every frame."""
    coefficients = np.zeros((frames, 52), np.float32)
    for name, value in actions.items():
        coefficients[:, ACTIONS.index(name)] = value
    return coefficients, np.zeros((frames, 6), np.float32), np.zeros((frames, 2), np.float32)


def moving_inputs(frames=5, seed=0):
    """Random coefficients, pose and gaze."""
    rng = np.random.default_rng(seed)
    coefficients = np.clip(rng.normal(0, 0.3, (frames, 52)), 0, 1)
    pose = rng.normal(0, 0.1, (frames, 6)) * (1, 1, 1, 0.3, 0.3, 0.3)
    gaze = rng.normal(0, 0.15, (frames, 2))
    return coefficients, pose, gaze


def landmarks(person, size=128, pose=None, gaze=None, **actions):
    """Name -> position (2,) in the picture of one frame."""
    coefficients, still_pose, still_gaze = still_inputs(**actions)
    pose = still_pose if pose is None else [pose]
    gaze = still_gaze if gaze is None else [gaze]
    _, positions = render(person, coefficients, pose, gaze, 1, size)
    return dict(zip(LANDMARKS, positions[0], strict=True))


# --- form and repetition ----------------------------------------------------------------------


def test_shapes_and_types():
    frames, positions = render(0, *still_inputs(3), 2, SIZE)
    assert frames.shape == (3, SIZE, SIZE, 3)
    assert frames.dtype == np.uint8
    assert positions.shape == (3, len(LANDMARKS), 2)
    assert positions.dtype == np.float32


def test_a_plain_background_is_around_the_head():
    frames, _ = render(0, *still_inputs(3), 2, SIZE)
    left_corner = frames[0][:3, :3]
    right_corner = frames[0][:3, -3:]
    for corner in (left_corner, right_corner):
        assert corner.std(axis=(0, 1)).max() < 4
    assert frames[0].std() > 4


def test_rendering_twice_gives_the_same_bytes():
    first_frames, first_positions = render(4, *moving_inputs(), 7, SIZE)
    second_frames, second_positions = render(4, *moving_inputs(), 7, SIZE)
    np.testing.assert_array_equal(first_frames, second_frames)
    np.testing.assert_array_equal(first_positions, second_positions)


@pytest.mark.parametrize("frame", [0, 3, 5])
def test_frame_of_a_clip_equals_the_frame_rendered_alone(frame):
    inputs = moving_inputs(6)
    frames, positions = render(5, *inputs, 7, SIZE)
    inputs_of_frame = [values[frame : frame + 1] for values in inputs]
    frame_alone, positions_alone = render(5, *inputs_of_frame, 7, SIZE)
    np.testing.assert_array_equal(frame_alone[0], frames[frame])
    np.testing.assert_array_equal(positions_alone[0], positions[frame])


def test_equal_inputs_give_equal_frames_within_a_clip():
    frames, _ = render(1, *still_inputs(4), 3, SIZE)
    assert (frames == frames[0]).all()


def test_empty_clip_gives_no_frames():
    frames, positions = render(0, np.zeros((0, 52)), np.zeros((0, 6)), np.zeros((0, 2)), 1, SIZE)
    assert frames.shape == (0, SIZE, SIZE, 3)
    assert positions.shape == (0, len(LANDMARKS), 2)


# --- actions ----------------------------------------------------------------------------------


def test_every_action_changes_the_picture():
    coefficients = np.concatenate([np.zeros((1, 52)), np.eye(52)])
    frames, _ = render(0, coefficients, np.zeros((53, 6)), np.zeros((53, 2)), 1, 128)
    change = np.abs(frames[1:].astype(int) - frames[0]).max(axis=(1, 2, 3))
    unseen = {name for name, value in zip(ACTIONS, change, strict=True) if value < 10}
    assert unseen <= {"tongueOut"}  # a closed mouth hides the tongue


@pytest.mark.parametrize("person", PEOPLE)
def test_jaw_opens_the_lips_by_a_plausible_number_of_pixels_and_leaves_the_eyes(person):
    def gap(positions):
        return positions["lower_lip_inner"][1] - positions["upper_lip_inner"][1]

    shut = landmarks(person)
    opened = landmarks(person, jawOpen=0.7)
    assert gap(shut) < 2
    assert 5 < gap(opened) - gap(shut) < 16
    for name in ("left_eye_inner", "right_eye_outer", "left_pupil", "nose_bridge"):
        assert np.abs(shut[name] - opened[name]).max() < 0.3


@pytest.mark.parametrize("person", PEOPLE)
def test_pucker_narrows_and_smile_widens_the_mouth(person):
    def width(**actions):
        positions = landmarks(person, **actions)
        return positions["mouth_left"][0] - positions["mouth_right"][0]

    rest = width()
    assert width(mouthPucker=1.0) < 0.85 * rest
    assert width(mouthSmileLeft=1.0, mouthSmileRight=1.0) > 1.1 * rest


def test_left_is_the_subjects_left():
    rest = landmarks(0)
    raised = landmarks(0, browOuterUpLeft=1.0)
    assert rest["left_brow_outer"][0] > rest["right_brow_outer"][0]
    assert raised["left_brow_outer"][1] < rest["left_brow_outer"][1] - 1
    assert abs(raised["right_brow_outer"][1] - rest["right_brow_outer"][1]) < 0.1


def test_blink_hides_the_iris():
    open_frames, positions = render(3, *still_inputs(), 1, 128)
    shut_inputs = still_inputs(eyeBlinkLeft=1.0, eyeBlinkRight=1.0)
    shut_frames, _ = render(3, *shut_inputs, 1, 128)
    pupil = positions[0, LANDMARKS.index("left_pupil")]
    column, row = np.round(pupil).astype(int)
    iris = (slice(row - 2, row + 2), slice(column - 2, column + 2))
    assert shut_frames[0][iris].mean() > open_frames[0][iris].mean() + 25


# --- pose and gaze ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pose", "landmark", "axis", "sign"),
    [
        ((0.3, 0, 0, 0, 0, 0), "nose_tip", 0, 1),
        ((0, 0.3, 0, 0, 0, 0), "nose_tip", 1, 1),
        ((0, 0, 0.3, 0, 0, 0), "nose_bridge", 0, 1),
        ((0, 0, 0, 0.1, 0, 0), "chin", 0, 1),
        ((0, 0, 0, 0, 0.1, 0), "chin", 1, 1),
    ],
)
def test_pose_has_the_signs_it_documents(pose, landmark, axis, sign):
    shift = landmarks(0, pose=pose)[landmark][axis] - landmarks(0)[landmark][axis]
    assert sign * shift > 2


def test_scale_spreads_the_landmarks_by_its_exponential():
    def eye_distance(positions):
        return np.linalg.norm(positions["left_eye_outer"] - positions["right_eye_outer"])

    larger = landmarks(0, pose=(0, 0, 0, 0, 0, 0.1))
    ratio = eye_distance(larger) / eye_distance(landmarks(0))
    assert ratio == pytest.approx(np.exp(0.1), rel=1e-3)


def test_gaze_moves_pupils_and_nothing_else():
    rest = landmarks(0)
    looking = landmarks(0, gaze=(0.3, 0.2))
    for name in LANDMARKS:
        shift = looking[name] - rest[name]
        if "pupil" in name:
            assert (shift > 0.5).all()
        else:
            assert not shift.any()


def test_landmarks_scale_with_the_picture():
    large = np.array(list(landmarks(2, 256).values()))
    small = np.array(list(landmarks(2, 128).values()))
    np.testing.assert_allclose(large, 2 * small, atol=0.01)


def test_landmarks_stay_inside_the_picture():
    for person in range(12):
        _, positions = render(person, *still_inputs(2, jawOpen=0.8), person, SIZE)
        assert (positions > 1).all(), person
        assert (positions < SIZE - 1).all(), person


# --- people and scenes ------------------------------------------------------------------------


def test_two_people_and_two_scenes_differ():
    def frame(person, scene):
        frames, _ = render(person, *still_inputs(), scene, SIZE)
        return frames.astype(float)

    first = frame(0, 1)
    assert np.abs(first - frame(1, 1)).mean() > 5
    assert np.abs(first - frame(0, 2)).mean() > 5


@pytest.mark.parametrize("person", [2, 11, 203, 405])
def test_every_person_of_a_sample_has_a_face_of_a_skin_colour(person):
    frames, positions = render(person, *still_inputs(), 1, SIZE)
    column, row = positions[0, LANDMARKS.index("nose_bridge")].astype(int)
    red, green, blue = frames[0, row, column].astype(int)
    assert red > green > blue > 5


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"coefficients": np.zeros((2, 51))},
            r"coefficients has shape \(2, 51\): accepted is \(T, 52\)",
        ),
        ({"pose": np.zeros((3, 6))}, r"pose has shape \(3, 6\): accepted is \(2, 6\)"),
        ({"gaze": np.full((2, 2), np.nan)}, "gaze holds a number that is not finite"),
        ({"size": 8}, "size 8: accepted are 16 to 1024 pixels"),
    ],
)
def test_wrong_inputs_are_refused_in_one_line(change, message):
    inputs = {
        "coefficients": np.zeros((2, 52)),
        "pose": np.zeros((2, 6)),
        "gaze": np.zeros((2, 2)),
        "size": SIZE,
    }
    inputs.update(change)
    with pytest.raises(InputError, match=message):
        render(0, scene=1, **inputs)


# --- recording --------------------------------------------------------------------------------


def recorded(**changes):
    """A rendered clip, and as recorded in a way that differs from a perfect one."""
    frames, _ = render(4, *moving_inputs(3), 7, 128)
    return frames, record(replace(PERFECT, **changes), frames)


def test_a_perfect_recording_changes_nothing_but_what_is_nearly_white():
    frames, after = recorded()
    is_bright = frames.max(-1) > 215
    change = np.abs(after.astype(int) - frames)
    assert change[~is_bright].max() <= 1
    assert change[is_bright].max() < 40


@pytest.mark.parametrize(
    ("changes", "low", "high"),
    [
        ({"read_noise": 4.0}, 2, 5),
        ({"codec": "jpeg", "quality": 1.0}, 1, 8),
        ({"codec": "libx264", "quality": 0.5}, 1, 8),
        ({"codec": "mpeg1video", "quality": 0.5}, 1, 8),
        ({"scale": 0.4}, 1, 12),
        ({"blur": 1.0}, 1, 12),
        ({"exposure": 0.5}, 8, 50),
    ],
)
def test_each_effect_changes_pixels_and_keeps_the_face(changes, low, high):
    frames, after = recorded(**changes)
    assert after.shape == frames.shape
    assert after.dtype == np.uint8
    change = after.astype(float) - frames
    assert low < np.sqrt(np.square(change).mean()) < high
    correlation = np.corrcoef(frames.ravel(), after.ravel())[0, 1]
    assert correlation > 0.97


def test_a_recording_follows_from_its_seed_and_repeats():
    frames, _ = render(4, *moving_inputs(3), 7, 64)
    for seed in range(4):
        recording = sample_recording(seed)
        assert recording == sample_recording.__wrapped__(seed)
        np.testing.assert_array_equal(record(recording, frames), record(recording, frames))
    assert {sample_recording(seed).codec for seed in range(40)} == set(CODECS)


# --- version 2 --------------------------------------------------------------------------------


def with_looks(number, **looks):
    """A person of version 2 with looks that are plain but for some."""
    return replace(sample_person(number, 2), looks=replace(PLAIN, **looks))


def picture(person, size=128, **actions):
    frames, positions = render(person, *still_inputs(**actions), 1, size)
    return frames[0].astype(float), dict(zip(LANDMARKS, positions[0], strict=True))


def change_around(point, first, second, half_size=6):
    """Mean absolute change of two pictures around a point."""
    column, row = np.round(point).astype(int)
    box = (slice(row - half_size, row + half_size), slice(column - half_size, column + half_size))
    return np.abs(first[box] - second[box]).mean()


def test_a_frame_of_version_2_equals_the_frame_rendered_alone():
    inputs = moving_inputs(4)
    person = with_looks(201, beard=FULL_BEARD, glasses=ROUND_GLASSES, line_gain=1.0)
    frames, _ = render(person, *inputs, 7, SIZE)
    alone, _ = render(person, *[values[2:3] for values in inputs], 7, SIZE)
    np.testing.assert_array_equal(alone[0], frames[2])


def test_a_moustache_covers_part_of_the_upper_lip_and_rises_with_a_smile():
    shaved = with_looks(201)
    bearded = with_looks(201, beard=FULL_BEARD)
    smile = {"mouthSmileLeft": 1.0, "mouthSmileRight": 1.0}
    for actions in ({}, smile):
        without, positions = picture(shaved, **actions)
        hairy, _ = picture(bearded, **actions)
        above = positions["upper_lip_outer"]
        assert change_around(above, without, hairy, 3) > 15
        assert change_around(positions["chin"], without, hairy, 5) > 15
        assert change_around(positions["left_eye_outer"], without, hairy, 4) < 1


def test_hair_on_the_face_moves_with_the_skin_below_it():
    model = person_model(with_looks(201, beard=FULL_BEARD), 1)
    first = len(model.vertices) - len(model.anchors)
    assert len(model.anchors) > 400
    assert model.anchors.max() < first
    distance = np.linalg.norm(model.vertices[first:] - model.vertices[model.anchors], axis=1)
    assert 0.005 < distance.max() < 0.6


def test_glasses_lie_around_the_eyes_and_no_action_moves_them():
    without, positions = picture(with_looks(203))
    glasses, _ = picture(with_looks(203, glasses=ROUND_GLASSES))
    raised, _ = picture(with_looks(203, glasses=ROUND_GLASSES), jawOpen=0.8)
    change = np.abs(glasses - without).sum(2) > 40
    eyes = positions["left_pupil"], positions["right_pupil"]
    for pupil in eyes:
        column, row = np.round(pupil).astype(int)
        near = change[row - 16 : row + 17, column - 16 : column + 17]
        assert near.sum() > 40
        assert not change[row - 1 : row + 2, column - 1 : column + 2].any()
    assert change_around(eyes[0], glasses, raised, 10) < 1
    assert not change[: int(positions["left_brow_middle"][1]) - 12].any()


@pytest.mark.parametrize(
    ("action", "landmark", "offset"),
    [
        ("browInnerUp", "nose_bridge", (0, -26)),
        ("noseSneerLeft", "nose_bridge", (0, 0)),
        ("cheekSquintLeft", "left_eye_outer", (5, 0)),
        ("mouthSmileLeft", "left_nose_wing", (5, 6)),
    ],
)
def test_lines_come_with_the_action_and_not_without_it(action, landmark, offset):
    smooth, lined = with_looks(202), with_looks(202, line_gain=1.0)
    rest, positions = picture(smooth)
    rest_lined, _ = picture(lined)
    np.testing.assert_array_equal(rest, rest_lined)
    moved, positions = picture(smooth, **{action: 1.0})
    moved_lined, _ = picture(lined, **{action: 1.0})
    assert change_around(positions[landmark] + offset, moved, moved_lined) > 0.5


def test_two_hundred_people_of_version_2_have_every_kind_of_looks():
    people = [sample_person(number, 2) for number in range(200)]
    assert {person.looks.beard.style for person in people} == set(BEARDS)
    shapes = {person.looks.glasses.shape for person in people if person.looks.glasses}
    assert shapes == set(GLASSES)
    share = np.mean([person.looks.glasses is not None for person in people])
    assert 0.18 < share < 0.4
    assert all(person.looks.beard.style == "none" for person in people if person.sex == "female")
    assert any(person.looks.eyeliner > 0.5 for person in people)
    assert max(max(person.looks.lines) for person in people) > 0.3


def test_a_person_of_version_1_has_plain_looks():
    for number in range(20):
        first = sample_person(number, 1)
        assert first.looks == PLAIN
        assert first.sex == sample_person(number, 2).sex


@pytest.mark.parametrize(
    ("person", "scene", "mean", "column", "landmark_mean"),
    [
        (
            600,
            11,
            [124.23, 106.471, 111.532],
            [[119, 86, 65], [118, 81, 57], [144, 101, 75], [120, 72, 57], [70, 48, 34]],
            [33.455, 37.437],
        ),
        (
            604,
            12,
            [80.581, 71.535, 69.465],
            [[109, 76, 62], [139, 91, 72], [123, 76, 58], [114, 55, 41], [100, 60, 44]],
            [32.757, 39.633],
        ),
    ],
)
def test_the_pictures_of_version_1_have_not_drifted(person, scene, mean, column, landmark_mean):
    """Committed networks and results stand on them; a processor may change a last bit."""
    frames, positions = render(
        sample_person(person, 1), *moving_inputs(3), sample_scene(scene, 1), SIZE
    )
    np.testing.assert_allclose(frames.mean((0, 1, 2)), mean, atol=0.02)
    np.testing.assert_allclose(frames[1, 20:60:8, 32].astype(int), column, atol=1)
    np.testing.assert_allclose(positions.mean((0, 1)), landmark_mean, atol=2e-3)


def test_actions_of_version_2_move_brows_as_far_as_acted_people_do():
    first, second = action_shapes(1), action_shapes(2)
    head = load_head()
    brow = head.landmarks[LANDMARKS.index("left_brow_inner")]
    unit = 0.87  # dm, outer-eye distance of the average head
    for name, low, high in (("browInnerUp", 0.07, 0.10), ("browDownLeft", 0.07, 0.10)):
        before, after = (
            abs(shapes.displacement({name: 1.0}, len(head.vertices))[brow, 1]) / unit
            for shapes in (first, second)
        )
        assert low < after < high
        assert after > 1.4 * before
