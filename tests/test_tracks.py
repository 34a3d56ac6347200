"""The face of an edit through a whole video: cuts, several faces, frames that stay."""

import weakref
from itertools import pairwise

import numpy as np
import pytest

from cdrl.core.errors import InputError
from cdrl.corpora.samples import sample_paths
from cdrl.media.cuts import mark_cuts
from cdrl.media.faces import Alignment, align, interpolate_rows
from cdrl.media.image_warp import affine_warp
from cdrl.media.mouth_cover import COVERED as COVERED_DIFFERENCE
from cdrl.media.mouth_cover import (
    LEAST_LOOKS,
    POINTS,
    MouthLook,
    covered_looks,
    pattern_differences,
)
from cdrl.media.tracks import (
    COVERED,
    NO_FACE,
    OTHER_FACES,
    TOO_BRIEF,
    TOO_SMALL,
    TURNED,
    FaceChoice,
    FaceTrack,
    Shot,
    Stretch,
    follow_face,
)
from cdrl.media.video import read_video

FACE = (slice(70, 240), slice(140, 300))  # rows and columns of the sample's face
PLATE = (90, 70, 60)
NO_MOUTH = np.zeros(4, np.float32)


@pytest.fixture(scope="module")
def frames():
    """Forty frames of a real person who speaks, (40, 360, 480, 3)."""
    [neutral] = [path for path in sample_paths() if "NEU" in path.name]
    return read_video(neutral, None).frames[:40]


@pytest.fixture(scope="module")
def stranger(frames):
    """Eight frames of a rendered person whose face is where the real one's is."""
    render = pytest.importorskip("cdrl.studio.render").render
    coefficients = np.zeros((8, 52), np.float32)
    pose = np.zeros((8, 6), np.float32)
    pose[:, 0] = np.linspace(0, 0.05, 8)
    rendered = render(601, coefficients, pose, np.zeros((8, 2), np.float32), 601, size=160)[0]
    real = align(frames[:8]).transforms.astype(float)
    drawn = align(rendered).transforms.astype(float)
    moved = []
    for image, there, here in zip(rendered, real, drawn, strict=True):
        to_crop = np.linalg.inv(np.vstack([there, [0, 0, 1]]))
        to_drawn = np.vstack([here, [0, 0, 1]]) @ to_crop
        moved.append(affine_warp(image, to_drawn[:2], 360, 480, 1))
    return np.stack(moved)


def kept_of(track):
    """(start, stop, reason) of the frames that stay."""
    return [(stretch.start, stretch.stop, stretch.reason) for stretch in track.kept]


def covers_all(track, count):
    """Whether shots and stretches follow one another from the first frame to the last."""
    for parts in (track.shots, track.stretches):
        assert parts[0].start == 0
        assert parts[-1].stop == count == len(track)
        assert all(before.stop == after.start for before, after in pairwise(parts))
    for stretch in track.stretches:
        if stretch.alignment is not None:
            assert len(stretch.alignment) == len(stretch)
    return True


# --- cuts


def cuts_of(frames):
    """Numbers of the frames that begin a shot."""
    return [number for number, marked in enumerate(mark_cuts(frames)) if marked.is_cut]


def textures(count, seed=0):
    """Smooth random pictures, (count, 72, 96, 3) uint8."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 255, (count, 9, 12, 3), dtype=np.uint8)
    return coarse.repeat(8, 1).repeat(8, 2)


def panned(picture, steps):
    """A picture that is shifted by so many pixels in all, frame by frame."""
    return np.stack([np.roll(picture, shift, axis=1) for shift in np.cumsum(steps)])


def test_every_frame_comes_out_once_and_in_order():
    for count in (0, 1, 2, 3, 4, 9):
        images = list(textures(count))
        marked = list(mark_cuts(iter(images)))
        assert [id(image) for image, _ in marked] == [id(image) for image in images]
    assert not cuts_of(textures(1))


@pytest.mark.parametrize("lengths", [(5, 5), (1, 6), (6, 1), (2, 9, 2), (30, 1, 30)])
def test_a_cut_is_found_wherever_it_is(lengths):
    shots = textures(len(lengths))
    images = np.concatenate([shots[[k]].repeat(n, 0) for k, n in enumerate(lengths)])
    assert cuts_of(images) == np.cumsum(lengths)[:-1].tolist()


@pytest.mark.parametrize(
    "steps", [[0] * 20, [3] * 20, [0, 6] * 10, [0] * 10 + [5] * 10, [1, 2, 3, 4, 5, 6, 7, 8, 8, 8]]
)
def test_a_pan_repeated_pictures_and_a_start_are_no_cuts(steps):
    assert cuts_of(panned(textures(1)[0], steps)) == []


def test_a_talking_person_is_one_shot_and_another_size_is_another(frames):
    assert cuts_of(frames) == []
    assert cuts_of([*frames[:5], *frames[5:9, :200]]) == [5]


def test_a_cut_to_another_person_at_the_same_place_is_found(frames, stranger):
    joined = np.concatenate([frames[:10], stranger, frames[10:20]])
    track = follow_face(joined)
    assert [shot.start for shot in track.shots] == [0, 10, 18]
    assert not track.kept and covers_all(track, 28)
    before, there, after = (stretch.alignment.transforms for stretch in track.stretches)
    # Nothing but the appearance tells: the face is where it was.
    jump = np.abs(before[-1] @ [48, 48, 1] - there[0] @ [48, 48, 1]).max()
    assert jump < 12
    # Each shot is followed by itself: its neighbours do not change it.
    alone = follow_face(stranger).stretches[0].alignment.transforms
    assert np.array_equal(there, alone)
    assert np.abs(after - follow_face(frames[10:20]).stretches[0].alignment.transforms).max() == 0


# --- frames that stay


def test_one_unbroken_view_is_one_stretch_aligned_as_a_corpus_is(frames):
    track = follow_face(iter(frames))
    [stretch] = track.stretches
    assert covers_all(track, 40) and stretch.after_cut and stretch.before_cut
    difference = np.abs(stretch.alignment.transforms - align(frames).transforms)
    assert difference[:, :, 2].max() < 1  # pixels
    assert (track.strength(8) == 1).all()


def test_a_black_start_stays_and_the_rest_is_edited(frames):
    black = frames.copy()
    black[:25] = 0
    track = follow_face(black)
    assert kept_of(track) == [(0, 25, NO_FACE)] and covers_all(track, 40)
    assert (track.strength(8) == np.arange(40)[:] // 25).all(), "a cut needs no fade"


def passing_plate(frames, arrival, leaving):
    """Frames over which a plate slides, 30 pixels a frame; it hides the face in between."""
    covered = frames.copy()
    for index, image in enumerate(covered):
        distance = max(arrival - index, index - leaving, 0)
        left = min(120 + 30 * distance, 480)
        image[60:270, left : left + 220] = PLATE
    return covered


def test_frames_of_a_covered_face_stay_to_the_frame_and_the_edit_fades_beside_them(frames):
    track = follow_face(passing_plate(frames, 14, 28))
    assert len(track.shots) == 1 and covers_all(track, 40)
    [(start, stop, reason)] = kept_of(track)
    assert reason == NO_FACE
    assert 10 <= start <= 14 and 29 <= stop <= 33
    # The ends are no rounding to the frames that are looked at: they move with the plate.
    [(later_start, later_stop, _)] = kept_of(follow_face(passing_plate(frames, 16, 30)))
    assert abs(later_start - start - 2) <= 1 and abs(later_stop - stop - 2) <= 1

    strength = track.strength(4)
    assert (strength[start:stop] == 0).all()
    assert strength[0] == 1 and strength[-1] == 1, "the clip's own ends do not fade"
    assert (np.diff(strength[start - 5 : start + 1]) < 0).all()
    assert np.abs(np.diff(strength)).max() < 0.4


def with_covered_mouth(frames, colour, covered):
    """Frames with a shaded oval of a colour over the mouth, which trembles; `covered`: a slice."""
    alignment = align(frames)
    left, top, right, bottom = alignment.mouth_box * 96
    middle = np.array([(left + right) / 2, (top + bottom) / 2, 1])
    rows, columns = np.mgrid[: frames.shape[1], : frames.shape[2]]
    random = np.random.default_rng(0)
    changed = frames.copy()
    for number in range(*covered.indices(len(frames))):
        x, y = alignment.transforms[number] @ middle + random.normal(0, 1, 2)
        unit = 96 / np.linalg.norm(alignment.transforms[number][:, 0]) / 96
        distance = np.hypot((columns - x) * unit / 26, (rows - y) * unit / 20)
        shade = np.array(colour) * (1 - 0.25 * distance[..., None])
        inside = (distance < 1)[..., None]
        changed[number] = np.where(inside, shade.clip(0, 255), frames[number])
    return changed


@pytest.mark.parametrize("colour", ["own skin", (120, 82, 62), (38, 38, 40), (225, 228, 230)])
def test_frames_of_a_covered_mouth_stay_and_the_rest_is_edited(frames, colour):
    if colour == "own skin":
        colour = frames[0, 90:110, 205:240].mean((0, 1))
    track = follow_face(with_covered_mouth(frames, colour, slice(14, 27)))
    assert covers_all(track, len(frames))
    [(start, stop, reason)] = kept_of(track)
    assert reason == COVERED
    assert 14 - 4 < start <= 16 and 25 <= stop < 27 + 4


def test_no_mouth_of_the_acted_samples_counts_as_covered():
    for path in sample_paths():
        assert kept_of(follow_face(read_video(path, None).frames[:40])) == [], path.name


def test_the_pattern_of_a_mouth_does_not_depend_on_light_and_needs_some_looks():
    random = np.random.default_rng(1)
    pattern = random.uniform(60, 160, (len(POINTS), 3))
    colours = np.stack([pattern * light for light in np.linspace(0.6, 1.4, 12)])
    colours[5:7] = 220 - pattern
    differences = pattern_differences(colours)
    assert np.delete(differences, [5, 6]).max() < 0.2
    assert differences[5:7].min() > COVERED_DIFFERENCE

    looks = [MouthLook(row, 0.02) for row in colours]
    assert np.flatnonzero(covered_looks(looks)).tolist() == [5, 6]
    looks[5] = MouthLook(colours[5], 0.2)  # one alone is left, and a mouth that is open is seen
    assert not covered_looks(looks).any()
    assert not covered_looks(looks[: LEAST_LOOKS - 1]).any()

    patterns = random.uniform(60, 160, (12, len(POINTS), 3))  # a crowd: none of them is usual
    assert not covered_looks([MouthLook(colours, 0.02) for colours in patterns]).any()


def test_a_face_away_for_21_frames_and_a_blur_of_two(frames):
    away = frames.copy()
    noise = np.random.default_rng(1).integers(90, 110, (*away[0, :, :, :1].shape,))
    fade = np.clip(np.abs(np.arange(40) - 20) - 9, 0, 4) / 4  # gone from 11 to 29
    for image, share in zip(away, fade, strict=True):
        image[FACE] = (share * image[FACE] + (1 - share) * noise[FACE]).astype(np.uint8)
    track = follow_face(away)
    assert [reason for _, _, reason in kept_of(track)] == [NO_FACE]
    [(start, stop, _)] = kept_of(track)
    assert 18 <= stop - start <= 24 and len(track.shots) == 1


def test_a_profile_stays_and_is_called_turned_away(frames):
    render = pytest.importorskip("cdrl.studio.render").render
    pose = np.zeros((36, 6), np.float32)
    pose[:, 0] = np.interp(np.arange(36), [0, 10, 16, 36], [0, 0, 1.4, 1.4])
    zeros = np.zeros((36, 52), np.float32)
    turning = render(603, zeros, pose, np.zeros((36, 2), np.float32), 603, size=160)[0]
    track = follow_face(turning)
    assert covers_all(track, 36)
    assert track.stretches[0].alignment is not None and track.stretches[0].stop > 9
    reasons = {reason for _, _, reason in kept_of(track)}
    assert TURNED in reasons or NO_FACE in reasons
    with pytest.raises(InputError, match=r"turn\.mp4: .*face"):
        follow_face(turning[20:28], name="turn.mp4")


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((6, 90, 120, 3), np.uint8), "no face found (frames 0 to 5)"),
        (np.full((1, 20, 20, 3), 200, np.uint8), "no face found (frames 0 to 0)"),
    ],
)
def test_only_a_video_without_any_face_is_refused(image, message):
    with pytest.raises(InputError) as caught:
        follow_face(image, name="wall.mp4")
    assert str(caught.value).startswith(f"wall.mp4: {message}")
    assert "\n" not in str(caught.value)


def test_a_small_face_and_no_frames_are_refused(frames):
    step = 6
    with pytest.raises(InputError, match="px wide; at least 24 px"):
        follow_face(np.ascontiguousarray(frames[:3, ::step, ::step]))
    with pytest.raises(InputError, match="not one frame"):
        follow_face([])
    with pytest.raises(InputError, match="crop=square: accepted are aligned, released"):
        follow_face(frames[:1], crop="square")


def test_the_released_crop_looks_at_every_frame(frames):
    released = follow_face(frames[:8], crop="released").stretches[0].alignment
    expected = align(frames[:8], crop="released")
    assert np.abs(released.transforms - expected.transforms).max() < 0.05 * 96


def test_few_frames_are_in_memory_at_once(frames):
    references = []
    alive = []

    def read():
        for frame in frames:
            copy = frame.copy()
            references.append(weakref.ref(copy))
            yield copy
            del copy
            alive.append(sum(reference() is not None for reference in references))

    follow_face(read())
    assert max(alive) <= 10


# --- strength


def some_alignment(count):
    zeros = np.zeros((1, 6))
    transforms = interpolate_rows(np.array([0]), zeros, count).reshape(-1, 2, 3)
    return Alignment(transforms.astype(np.float32), NO_MOUTH)


@pytest.mark.parametrize("fade", [0, 1, 8])
@pytest.mark.parametrize("length", [1, 2, 5, 40])
@pytest.mark.parametrize("after_cut", [False, True])
@pytest.mark.parametrize("before_cut", [False, True])
def test_the_edit_grows_and_shrinks_without_a_step(fade, length, after_cut, before_cut):
    middle = Stretch(3, 3 + length, some_alignment(length), "", after_cut, before_cut)
    stretches = [
        Stretch(0, 3, None, NO_FACE),
        middle,
        Stretch(3 + length, 9 + length, None, NO_FACE),
    ]
    shot = Shot(0, 9 + length, np.zeros((0, 4)), None)
    strength = FaceTrack([shot], stretches).strength(fade)
    assert strength.shape == (9 + length,)
    assert (strength[:3] == 0).all() and (strength[3 + length :] == 0).all()
    inner = strength[3 : 3 + length]
    assert (inner > 0).all() and (inner <= 1).all()
    if not after_cut:
        assert inner[0] <= 2 / (fade + 1)
        assert np.abs(np.diff(strength[: 3 + length // 2 + 1])).max() <= 2 / (fade + 1)
    if after_cut and before_cut:
        assert (inner == 1).all()


# --- several faces


@pytest.fixture(scope="module")
def pair(frames):
    """The same person twice, the right one a little larger, 12 frames."""
    left = frames[:12]
    enlarge = np.array([[0.8, 0, 40], [0, 0.8, 10]])
    right = np.stack([affine_warp(frame, enlarge, 360, 480, 1) for frame in left])
    return np.concatenate([left, right], axis=2)


def middle_of(track):
    """Column of the middle of the face in the first frame that is edited."""
    stretch = next(stretch for stretch in track.stretches if stretch.alignment is not None)
    return float((stretch.alignment.transforms[0] @ [48, 48, 1])[0])


@pytest.mark.parametrize(
    ("choice", "is_right"),
    [
        (None, True),
        (FaceChoice(number=1), False),
        (FaceChoice(number=2), True),
        (FaceChoice(box=(150, 80, 130, 130)), False),
        (FaceChoice(box=(600, 60, 250, 250)), True),
    ],
)
def test_the_chosen_face_is_followed_and_all_are_told(pair, choice, is_right):
    track = follow_face(pair, choice)
    [shot] = track.shots
    assert len(shot.boxes) == 2 and shot.chosen == int(is_right)
    assert (shot.boxes[0, 2] < 480) and (shot.boxes[1, 0] > 480), "from left to right"
    assert (middle_of(track) > 480) == is_right
    assert not track.kept


@pytest.mark.parametrize("choice", [FaceChoice(number=3), FaceChoice(box=(0, 0, 30, 30))])
def test_a_face_that_is_not_there_is_refused_with_those_that_are(pair, choice):
    with pytest.raises(InputError) as caught:
        follow_face(pair, choice, "pair.mp4")
    line = str(caught.value)
    assert line.startswith("pair.mp4: --face ") and "2 faces (1: " in line and " 2: " in line
    assert "\n" not in line


def test_a_chosen_face_that_is_hidden_is_not_taken_for_another(pair):
    clip = np.concatenate([pair, pair[::-1], pair])
    hidden = clip.copy()
    for index, image in enumerate(hidden):  # a plate slides over the right face and back
        distance = max(14 - index, index - 24, 0)
        left = min(560 + 40 * distance, 960)
        image[20:320, left : left + 330] = PLATE
    track = follow_face(hidden, FaceChoice(number=2))
    assert len(track.shots) == 1
    for stretch in track.stretches:
        if stretch.alignment is not None:
            middles = stretch.alignment.transforms @ [48, 48, 1]
            assert (middles[:, 0] > 480).all()
    assert sum(len(stretch) for stretch in track.kept) >= 10


def test_a_shot_without_the_chosen_face_stays(pair, frames):
    alone = np.concatenate([frames[20:28], np.full_like(frames[20:28], 90)], axis=2)
    track = follow_face(np.concatenate([pair[:8], alone]), FaceChoice(number=2))
    assert [shot.chosen for shot in track.shots] == [1, None]
    assert kept_of(track) == [(8, 16, OTHER_FACES)]


def test_the_reasons_are_told_apart():
    assert len({NO_FACE, TURNED, TOO_SMALL, TOO_BRIEF, OTHER_FACES}) == 5
