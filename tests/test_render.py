"""The renderer: exact repetition, and faces that do what their coefficients say."""

import numpy as np
import pytest

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS
from cdrl.studio.render import LANDMARKS, render

PEOPLE, SIZE = (0, 4, 9), 64


def performance(frames=1, **actions):
    """Still pose and gaze; actions by name, one value for every frame."""
    coefficients = np.zeros((frames, 52), np.float32)
    for name, value in actions.items():
        coefficients[:, ACTIONS.index(name)] = value
    return coefficients, np.zeros((frames, 6), np.float32), np.zeros((frames, 2), np.float32)


def landmarks(person, size=128, pose=None, gaze=None, **actions):
    coefficients, still, ahead = performance(**actions)
    still = still if pose is None else np.float32([pose])
    ahead = ahead if gaze is None else np.float32([gaze])
    _, marks = render(person, coefficients, still, ahead, 1, size)
    return dict(zip(LANDMARKS, marks[0], strict=True))


def moving(frames=5, seed=0):
    rng = np.random.default_rng(seed)
    coefficients = np.clip(rng.normal(0, 0.3, (frames, 52)), 0, 1).astype(np.float32)
    pose = (rng.normal(0, 0.1, (frames, 6)) * (1, 1, 1, 0.3, 0.3, 0.3)).astype(np.float32)
    return coefficients, pose, rng.normal(0, 0.15, (frames, 2)).astype(np.float32)


def test_shapes_types_and_a_background_around_the_head():
    frames, marks = render(0, *performance(3), 2, SIZE)
    assert frames.shape == (3, SIZE, SIZE, 3) and frames.dtype == np.uint8
    assert marks.shape == (3, len(LANDMARKS), 2) and marks.dtype == np.float32
    for corner in (frames[0][:3, :3], frames[0][:3, -3:]):
        assert corner.std(axis=(0, 1)).max() < 4 < frames[0].std()


def test_rendering_twice_gives_the_same_bytes():
    first, second = render(4, *moving(), 7, SIZE), render(4, *moving(), 7, SIZE)
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])


def test_frame_of_a_clip_equals_the_frame_rendered_alone():
    inputs = moving(6)
    frames, marks = render(5, *inputs, 7, SIZE)
    for t in (0, 3, 5):
        alone, mark = render(5, *(array[t : t + 1] for array in inputs), 7, SIZE)
        np.testing.assert_array_equal(alone[0], frames[t])
        np.testing.assert_array_equal(mark[0], marks[t])


def test_equal_inputs_give_equal_frames_within_a_clip():
    frames, _ = render(1, *performance(4), 3, SIZE)
    assert (frames == frames[0]).all()


def test_every_action_changes_the_picture():
    coefficients = np.concatenate([np.zeros((1, 52)), np.eye(52)])
    frames, _ = render(0, coefficients, np.zeros((53, 6)), np.zeros((53, 2)), 1, 128)
    change = np.abs(frames[1:].astype(int) - frames[0]).max(axis=(1, 2, 3))
    # A closed mouth hides the tongue.
    assert [
        name
        for name, value in zip(ACTIONS, change, strict=True)
        if value < 10 and name != "tongueOut"
    ] == []


@pytest.mark.parametrize("person", PEOPLE)
def test_jaw_opens_the_lips_by_a_plausible_number_of_pixels_and_leaves_the_eyes(person):
    shut, open_ = landmarks(person), landmarks(person, jawOpen=0.7)
    gap = [marks["lower_lip_inner"][1] - marks["upper_lip_inner"][1] for marks in (shut, open_)]
    assert gap[0] < 2 and 5 < gap[1] - gap[0] < 16
    for name in ("left_eye_inner", "right_eye_outer", "left_pupil", "nose_bridge"):
        assert np.abs(shut[name] - open_[name]).max() < 0.3


@pytest.mark.parametrize("person", PEOPLE)
def test_pucker_narrows_and_smile_widens_the_mouth(person):
    def width(**actions):
        marks = landmarks(person, **actions)
        return marks["mouth_left"][0] - marks["mouth_right"][0]

    rest = width()
    assert width(mouthPucker=1.0) < 0.85 * rest
    assert width(mouthSmileLeft=1.0, mouthSmileRight=1.0) > 1.1 * rest


def test_left_is_the_subjects_left():
    rest, raised = landmarks(0), landmarks(0, browOuterUpLeft=1.0)
    assert rest["left_brow_outer"][0] > rest["right_brow_outer"][0]
    assert raised["left_brow_outer"][1] < rest["left_brow_outer"][1] - 1
    assert abs(raised["right_brow_outer"][1] - rest["right_brow_outer"][1]) < 0.1


def test_blink_hides_the_iris():
    open_, shut = (
        render(3, *performance(eyeBlinkLeft=b, eyeBlinkRight=b), 1, 128) for b in (0.0, 1.0)
    )
    column, row = np.round(open_[1][0, LANDMARKS.index("left_pupil")]).astype(int)
    patch = (slice(row - 2, row + 2), slice(column - 2, column + 2))
    assert shut[0][0][patch].mean() > open_[0][0][patch].mean() + 25


@pytest.mark.parametrize(
    ("pose", "mark", "axis", "sign"),
    [
        ((0.3, 0, 0, 0, 0, 0), "nose_tip", 0, 1),
        ((0, 0.3, 0, 0, 0, 0), "nose_tip", 1, 1),
        ((0, 0, 0.3, 0, 0, 0), "nose_bridge", 0, 1),
        ((0, 0, 0, 0.1, 0, 0), "chin", 0, 1),
        ((0, 0, 0, 0, 0.1, 0), "chin", 1, 1),
    ],
)
def test_pose_has_the_signs_it_documents(pose, mark, axis, sign):
    assert sign * (landmarks(0, pose=pose)[mark][axis] - landmarks(0)[mark][axis]) > 2


def test_scale_spreads_the_landmarks_by_its_exponential():
    near, rest = landmarks(0, pose=(0, 0, 0, 0, 0, 0.1)), landmarks(0)
    eyes = [
        np.linalg.norm(marks["left_eye_outer"] - marks["right_eye_outer"]) for marks in (near, rest)
    ]
    assert eyes[0] / eyes[1] == pytest.approx(np.exp(0.1), rel=1e-3)


def test_gaze_moves_pupils_and_nothing_else():
    rest, looking = landmarks(0), landmarks(0, gaze=(0.3, 0.2))
    for name in LANDMARKS:
        moved = looking[name] - rest[name]
        assert (moved > 0.5).all() if "pupil" in name else not moved.any()


def test_landmarks_scale_with_the_picture():
    np.testing.assert_allclose(
        list(landmarks(2, 256).values()), 2 * np.array(list(landmarks(2, 128).values())), atol=0.01
    )


def test_landmarks_stay_inside_the_picture():
    for person in range(12):
        _, marks = render(person, *performance(2, jawOpen=0.8), person, SIZE)
        assert (marks > 1).all() and (marks < SIZE - 1).all(), person


def test_two_people_and_two_scenes_differ():
    frames = [
        render(person, *performance(), scene, SIZE)[0].astype(float)
        for person, scene in ((0, 1), (1, 1), (0, 2))
    ]
    assert np.abs(frames[0] - frames[1]).mean() > 5
    assert np.abs(frames[0] - frames[2]).mean() > 5


def test_every_person_of_a_sample_has_a_face_of_its_skin_colour():
    for person in (2, 11, 203, 405):
        frames, marks = render(person, *performance(), 1, SIZE)
        column, row = marks[0, LANDMARKS.index("nose_bridge")].astype(int)
        red, green, blue = frames[0, row, column].astype(int)
        assert red > green > blue > 5


def test_empty_clip_gives_no_frames():
    frames, marks = render(0, np.zeros((0, 52)), np.zeros((0, 6)), np.zeros((0, 2)), 1, SIZE)
    assert frames.shape == (0, SIZE, SIZE, 3) and marks.shape == (0, len(LANDMARKS), 2)


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
    with pytest.raises(InputError, match=message):
        render(0, scene=1, **(inputs | change))
