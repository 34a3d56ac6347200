"""Faces from pixels: found, followed, cropped and put back, on the real sample clips."""

import builtins
import io

import numpy as np
import pytest

from cdrl.core.errors import InputError
from cdrl.corpora.samples import sample_paths
from cdrl.media import faces
from cdrl.media import mesh as models
from cdrl.media.detectors import read_boxes
from cdrl.media.faces import (
    CROP_KINDS,
    CROP_SIZE,
    EYES_BELOW_TOP,
    MAXIMUM_GAP,
    MOUTH_WIDTH,
    SIDE,
    Alignment,
    align,
    alignment_error,
    crop,
    paste,
)
from cdrl.media.image_warp import affine_warp
from cdrl.media.mesh import (
    LIPS,
    Region,
    detect_faces,
    intersection_over_union,
    mesh_points,
    region_of_box,
    square_crop,
)
from cdrl.media.released_crop import OUTLINE, box_transforms, landmark_box
from cdrl.media.video import read_video

# Mesh points of the eyes' corners. Left and right are the picture's.
LEFT_EYE = (33, 133)  # outer and inner corner
RIGHT_EYE = (362, 263)  # inner and outer corner
NO_MOUTH = np.zeros(4, np.float32)
IDENTITY = np.array([[1.0, 0, 0], [0, 1, 0]])


@pytest.fixture(scope="module")
def clip():
    return read_video(sample_paths()[0])  # angry: the widest open mouth


@pytest.fixture(scope="module")
def alignment(clip):
    return align(clip.frames, name=clip.media)


@pytest.fixture(scope="module")
def released(clip):
    return align(clip.frames, name=clip.media, crop="released")


@pytest.fixture(params=CROP_KINDS)
def either_alignment(request, alignment, released):
    alignments = {"aligned": alignment, "released": released}
    return alignments[request.param]


def enlarged(frame: np.ndarray, factor: float) -> np.ndarray:
    """The frame enlarged by a factor."""
    height = round(frame.shape[0] * factor)
    width = round(frame.shape[1] * factor)
    matrix = IDENTITY / factor
    return affine_warp(frame, matrix, height, width, max(1, round(1 / factor)))


def resized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    across = picture.shape[1] / width
    down = picture.shape[0] / height
    matrix = np.array([[across, 0, 0], [0, down, 0]])
    return affine_warp(np.ascontiguousarray(picture), matrix, height, width, 4).astype(float)


def mean_difference(first: np.ndarray, second: np.ndarray) -> float:
    """Mean absolute difference of uint8 pictures, grey levels."""
    return np.abs(first.astype(int) - second).mean()


def same_for_all_frames(transform: np.ndarray, num_frames: int) -> Alignment:
    transforms = np.tile(transform.astype(np.float32), (num_frames, 1, 1))
    return Alignment(transforms, NO_MOUTH)


def points_in_crop(points: np.ndarray, transform: np.ndarray) -> np.ndarray:
    """(L, 2) frame pixels -> relative crop coordinates, 0 to 1."""
    inverse = np.linalg.inv(transform[:, :2])
    return (points - transform[:, 2]) @ inverse.T / CROP_SIZE


def eye_centres(points: np.ndarray) -> np.ndarray:
    """(2, 2) middles of the corners of both eyes."""
    left = points[list(LEFT_EYE)].mean(axis=0)
    right = points[list(RIGHT_EYE)].mean(axis=0)
    return np.stack([left, right])


def warp_by_loops(frame, matrix, size, samples):
    """Naive reference of `affine_warp`, float64."""
    out = np.zeros((size, size, 3))
    height, width = frame.shape[:2]
    for i in range(size):
        for j in range(size):
            for k in range(samples * samples):
                u = j + (k % samples + 0.5) / samples
                v = i + (k // samples + 0.5) / samples
                x, y = np.clip(matrix @ [u, v, 1] - 0.5, 0, [width - 1, height - 1])
                left = int(np.floor(x))
                top = int(np.floor(y))
                right = min(left + 1, width - 1)
                bottom = min(top + 1, height - 1)
                upper = frame[top, left] * (left + 1 - x) + frame[top, right] * (x - left)
                lower = frame[bottom, left] * (left + 1 - x) + frame[bottom, right] * (x - left)
                out[i, j] += (upper * (top + 1 - y) + lower * (y - top)) / samples**2
    return out


@pytest.mark.parametrize("samples, scale", [(1, 0.9), (2, 1.9), (3, 2.6)])
def test_warp_agrees_with_the_loop_reference(samples, scale):
    frame = np.random.default_rng(4).integers(0, 256, (23, 31, 3), np.uint8)
    matrix = np.array([[scale, -0.3, 4.2], [0.3, scale, -3.1]])
    fast = affine_warp(frame, matrix, 12, 12, samples)
    slow = warp_by_loops(frame, matrix, 12, samples)
    assert np.abs(fast - slow).max() <= 0.51  # rounding to uint8 only


def test_identity_warp_returns_the_image():
    frame = np.random.default_rng(5).integers(0, 256, (17, 17, 3), np.uint8)
    assert (affine_warp(frame, IDENTITY, 17, 17, 1) == frame).all()


def test_crop_of_a_whole_square_frame_is_that_frame_and_follows_the_size():
    frames = np.random.default_rng(6).integers(0, 256, (2, CROP_SIZE, CROP_SIZE, 3), np.uint8)
    whole = same_for_all_frames(IDENTITY, 2)
    assert (crop(frames, whole, CROP_SIZE) == frames).all()
    half = CROP_SIZE // 2
    means = frames.reshape(2, half, 2, half, 2, 3).mean(axis=(2, 4))
    assert np.abs(crop(frames, whole, half) - means).max() <= 0.51


def test_detector_finds_the_face_and_agrees_with_the_mesh_about_the_eyes(clip):
    boxes, scores, eyes = detect_faces(clip.frames[0])
    assert len(boxes) == 1
    assert scores[0] > 0.8
    points, score = mesh_points(clip.frames[0], region_of_box(boxes[0], eyes[0]))
    assert score > 0.9
    distances = np.linalg.norm(eye_centres(points[:, :2]) - eyes[0], axis=1)
    assert (distances < 6).all()
    left, _, right, _ = boxes[0]
    assert (points[:, 0] > left - 15).all()
    assert (points[:, 0] < right + 15).all()


@pytest.mark.parametrize("factor", [0.4, 0.7, 1.6])
def test_faces_of_other_sizes_are_found_where_they_are(clip, factor):
    boxes = detect_faces(clip.frames[0]).boxes
    scaled_boxes = detect_faces(enlarged(clip.frames[0], factor)).boxes
    assert len(scaled_boxes) == 1
    assert intersection_over_union(scaled_boxes[0] / factor, boxes[0]) > 0.75


def test_small_faces_in_large_pictures_are_found(clip):
    canvas = np.full((720, 1280, 3), 90, np.uint8)
    small = enlarged(clip.frames[0], 0.5)  # a face some 60 px wide
    canvas[500 : 500 + small.shape[0], 900 : 900 + small.shape[1]] = small
    boxes = detect_faces(canvas).boxes
    assert len(boxes) == 1
    left, _, right, _ = boxes[0]
    assert abs((left + right) / 2 - (900 + 217 / 2)) < 10


def test_overlap_of_boxes_in_closed_form():
    box = np.array([0.0, 0, 2, 2])
    assert intersection_over_union(box, box) == 1
    assert intersection_over_union(box, box + 1) == pytest.approx(1 / 7)
    assert intersection_over_union(box, box + 5) == 0


def test_square_crop_maps_its_middle_to_the_centre_and_turns_with_the_angle():
    frame = np.zeros((60, 80, 3), np.uint8)
    frame[30, 50:60] = 255  # a horizontal line right of the centre
    region = Region(np.array([45.0, 30.5]), 40.0, np.pi / 2)
    image, matrix = square_crop(frame, region, 40)
    assert np.allclose(matrix @ [20, 20, 1], [45, 30.5])
    rows, _ = np.nonzero(image[..., 0] > 100)
    assert len(rows)
    assert rows.max() < 20  # turned clockwise, the region sees it upwards


def test_eyes_and_nose_stay_where_they_belong_while_the_mouth_opens(clip, alignment):
    detections = detect_faces(clip.frames[0])
    region = region_of_box(detections.boxes[0], detections.eyes[0])
    eyes = []
    mouth_openings = []
    for frame, transform in zip(clip.frames, alignment.transforms, strict=True):
        points, _ = mesh_points(frame, region)
        in_crop = points_in_crop(points[:, :2], transform)
        eyes.append(eye_centres(in_crop))
        mouth_openings.append(in_crop[14, 1] - in_crop[13, 1])
    eyes = np.array(eyes)
    eye_distance = np.linalg.norm(eyes[:, 1] - eyes[:, 0], axis=1).mean()
    assert np.ptp(mouth_openings) > 0.1  # the mouth does open
    assert eyes.std(axis=0).max() < 0.03 * eye_distance
    mean_middle = eyes.mean(axis=(0, 1))
    assert np.abs(mean_middle - [0.5, EYES_BELOW_TOP / SIDE]).max() < 0.02
    # The template's eye centres are .692 apart.
    assert eye_distance == pytest.approx(0.692 / SIDE, rel=0.025)


def test_mouth_box_has_its_fixed_shape_and_holds_the_lips(clip, alignment):
    left, top, right, bottom = alignment.mouth_box
    assert right - left == pytest.approx(MOUTH_WIDTH, abs=1e-6)
    assert bottom - top == pytest.approx(MOUTH_WIDTH / 1.5, abs=1e-6)
    detections = detect_faces(clip.frames[0])
    region = region_of_box(detections.boxes[0], detections.eyes[0])
    for frame, transform in zip(clip.frames[::7], alignment.transforms[::7], strict=True):
        points, _ = mesh_points(frame, region)
        lips = points_in_crop(points[list(LIPS), :2], transform)
        assert (lips > [left, top - 0.02]).all()
        assert (lips < [right, bottom + 0.02]).all()


def test_enlarged_or_shifted_video_gives_the_same_crops(clip, alignment):
    frames = clip.frames[:9]
    reference = crop(frames, align(frames))
    assert mean_difference(crop(frames, alignment.part(0, 9)), reference) < 4
    shifted = np.roll(frames, (12, -20), axis=(1, 2))
    assert mean_difference(crop(shifted, align(shifted)), reference) < 3
    larger = np.stack([enlarged(frame, 1.5) for frame in frames])
    assert mean_difference(crop(larger, align(larger)), reference) < 4


def test_strides_agree_and_a_generator_gives_what_an_array_gives(clip, alignment):
    every_frame = align(clip.frames[:25], stride=1)
    every_fourth = align(clip.frames[:25], stride=4)
    difference = np.abs(every_frame.transforms - every_fourth.transforms)
    assert difference[:, :, 2].max() < 2  # pixels of a 480 x 360 frame
    streamed = align((frame for frame in clip.frames), stride=4)
    assert (streamed.transforms == alignment.transforms).all()


@pytest.mark.parametrize("size", [48, 96, 128])
def test_unchanged_crops_leave_every_pixel_as_it_was(clip, either_alignment, size):
    frames = clip.frames[:3]
    part = either_alignment.part(0, 3)
    assert (paste(frames, crop(frames, part, size), part) == frames).all()


def test_edits_reach_the_face_and_nothing_outside_the_crop(clip, either_alignment):
    frames = clip.frames[:2]
    part = either_alignment.part(0, 2)
    crops = crop(frames, part, 128)
    edited = np.clip(crops.astype(int) + 40, 0, 255).astype(np.uint8)
    pasted = paste(frames, edited, part)
    new_crops = crop(pasted, part, 128)
    assert mean_difference(new_crops[:, 40:90, 40:90], edited[:, 40:90, 40:90]) < 3

    inverse = np.linalg.inv(np.vstack([part.transforms[0], [0, 0, 1]]))
    rows, columns = np.mgrid[: frames.shape[1], : frames.shape[2]] + 0.5
    u = inverse[0, 0] * columns + inverse[0, 1] * rows + inverse[0, 2]
    v = inverse[1, 0] * columns + inverse[1, 1] * rows + inverse[1, 2]
    is_outside = (u < 0) | (u > CROP_SIZE) | (v < 0) | (v > CROP_SIZE)
    assert (pasted[0][is_outside] == frames[0][is_outside]).all()
    is_near_edge = (u < 2) | (u > CROP_SIZE - 2) | (v < 2) | (v > CROP_SIZE - 2)
    is_border = ~is_outside & is_near_edge
    change = np.abs(pasted[0].astype(int) - frames[0]).max(axis=2)
    assert change[is_border].max() <= 6  # of 40: no seam


def test_a_landmark_box_is_a_tenth_wider_on_every_side_and_its_map_goes_to_its_corners():
    points = np.array([[30.0, 50], [70, 40], [55, 120], [41, 77]])
    # The points are 40 wide and 80 high.
    left = 30 - 4
    right = 70 + 4
    top = 40 - 8
    bottom = 120 + 8
    box = landmark_box(points)
    assert box.tolist() == [left, top, right, bottom]
    (matrix,) = box_transforms(box[None], 96)
    crop_corners = np.array([[0, 96, 0, 96], [0, 0, 96, 96]])
    corners = matrix[:, :2] @ crop_corners + matrix[:, 2:]
    assert np.allclose(corners.T, [[left, top], [right, top], [left, bottom], [right, bottom]])
    inverse = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    in_crop = inverse @ np.vstack([points.T, np.ones(4)])
    assert np.allclose(matrix @ in_crop, points.T)


WHOLE_PIXELS = (4, 6, 44, 36)


@pytest.mark.parametrize("box", [WHOLE_PIXELS, (5.3, 2.2, 20.9, 48.7)])
def test_a_stretched_crop_is_that_part_of_the_frame_resized(box):
    frame = np.random.default_rng(10).integers(0, 256, (50, 60, 3), np.uint8)
    left, top, right, bottom = box
    across = (right - left) / 10
    down = (bottom - top) / 10
    matrix = np.array([[across, 0, left], [0, down, top]])
    samples = int(np.ceil(max(across, down) - 0.25))
    slow = warp_by_loops(frame, matrix, 10, samples)
    (transform,) = box_transforms(np.array([box], float), CROP_SIZE)
    (fast,) = crop(frame[None], same_for_all_frames(transform, 1), 10)
    assert np.abs(fast - slow).max() <= 0.52
    if box == WHOLE_PIXELS:
        means = frame[6:36, 4:44].reshape(10, 3, 10, 4, 3).mean(axis=(1, 3))
        assert np.abs(slow - means).max() < 16


def outline_box_by_loops(points):
    """(4,) the box of the outline, a tenth wider on each side."""
    xs = [points[k][0] for k in OUTLINE]
    ys = [points[k][1] for k in OUTLINE]
    wide = max(xs) - min(xs)
    high = max(ys) - min(ys)
    return [min(xs) - wide / 10, min(ys) - high / 10, max(xs) + wide / 10, max(ys) + high / 10]


def height_in_crop(point, transform):
    _, y = np.linalg.solve(transform[:, :2], point - transform[:, 2])
    return y / CROP_SIZE


def test_the_released_crop_is_the_box_of_each_frame_s_landmarks_and_the_jaw_moves_it(
    clip, alignment, monkeypatch
):
    points_of_frame = {}

    def recorded_mesh(frame, region):
        points, score = models.mesh_points(frame, region)
        points_of_frame[frame.tobytes()] = points[:, :2]  # the last look at a frame counts
        return points, score

    monkeypatch.setattr(faces, "mesh_points", recorded_mesh)
    frames = clip.frames[:40]
    released = align(frames, stride=4, crop="released")
    released_heights = []
    aligned_heights = []
    for index, frame in enumerate(frames):
        points = points_of_frame[frame.tobytes()]
        transform = released.transforms[index].astype(float)
        low = transform[:, 2]
        high = low + transform[:, :2] @ [CROP_SIZE, CROP_SIZE]
        assert np.allclose([*low, *high], outline_box_by_loops(points), atol=1e-3)
        assert transform[0, 1] == transform[1, 0] == 0

        eyes = points[list(LEFT_EYE + RIGHT_EYE)].mean(axis=0)
        released_heights.append(height_in_crop(eyes, transform))
        aligned_transform = alignment.transforms[index].astype(float)
        aligned_heights.append(height_in_crop(eyes, aligned_transform))
    # The mouth opens wide in this clip.
    assert np.std(released_heights) > 1.5 * np.std(aligned_heights)


def mouth_size(alignment):
    """(2,) width and height of the mouth box, frame pixels."""
    scales = np.abs(alignment.transforms[:, [0, 1], [0, 1]])
    crop_size = np.median(scales, axis=0) * CROP_SIZE
    return (alignment.mouth_box[2:] - alignment.mouth_box[:2]) * crop_size


def mouth_picture(frame, alignment):
    """The mouth box of the first frame, 32 x 48."""
    (picture,) = crop(frame[None], alignment.part(0, 1), 480)
    left, top, right, bottom = (alignment.mouth_box * 480).astype(int)
    return resized(picture[top:bottom, left:right], 32, 48)


def test_the_mouth_is_the_same_part_of_the_face_in_both_crops(clip, alignment, released):
    assert mouth_size(released) == pytest.approx(mouth_size(alignment), rel=0.03)
    aligned_mouth = mouth_picture(clip.frames[0], alignment)
    released_mouth = mouth_picture(clip.frames[0], released)
    assert np.corrcoef(aligned_mouth.ravel(), released_mouth.ravel())[0, 1] > 0.8


def test_another_crop_is_refused(clip):
    with pytest.raises(InputError, match="crop=square: accepted are aligned, released"):
        align(clip.frames[:1], crop="square")


def test_replaced_picture_shows_no_ghost_of_the_old_one():
    stripes = np.zeros((1, CROP_SIZE, CROP_SIZE, 3), np.uint8)
    stripes[:, :, ::2] = 200  # finer than the edited crop of half the size can hold
    whole = same_for_all_frames(IDENTITY, 1)
    half = CROP_SIZE // 2
    replaced = np.full((1, half, half, 3), 230, np.uint8)
    middle = paste(stripes, replaced, whole)[0, 30:60, 30:60].astype(int)
    assert np.abs(middle - 230).max() <= 1
    slight = np.full((1, half, half, 3), 104, np.uint8)  # the stripes' mean is 100
    middle = paste(stripes, slight, whole)[0, 30:60, 30:60].astype(int)
    assert middle[:, ::2].mean() - middle[:, 1::2].mean() > 180


def check_refused(frames, *substrings, name="holiday.mp4"):
    """`align` raises an InputError of one line that begins with the name and has the substrings."""
    with pytest.raises(InputError) as caught:
        align(frames, name=name)
    message = str(caught.value)
    assert message.startswith(name)
    assert "\n" not in message
    for substring in substrings:
        assert substring in message, message


def test_faceless_video_is_refused(clip):
    check_refused(clip.frames[:1, :, :100], "no face found", "frontal face of at least")
    noise = np.random.default_rng(7).integers(0, 256, (1, 120, 160, 3), np.uint8)
    check_refused(noise, "no face found")


def test_two_faces_are_refused(clip):
    side_by_side = np.concatenate([clip.frames[:6], clip.frames[10:16]], axis=2)
    check_refused(side_by_side, "more than one face", "one person")


def test_second_face_that_comes_later_is_refused(clip):
    joined = np.concatenate([clip.frames, np.full_like(clip.frames, 60)], axis=2)
    joined[40:, :, 480:] = clip.frames[40:]
    check_refused(joined, "more than one face")


def test_too_small_a_face_is_refused(clip):
    small = np.stack([enlarged(frame, 0.18) for frame in clip.frames[:5]])
    check_refused(small, "px wide", "at least 24 px")


def test_short_loss_of_the_face_is_bridged_and_a_long_one_refused(clip, alignment):
    hidden = clip.frames[:50].copy()
    hidden[20:26] = 70
    bridged = align(hidden)
    difference = np.abs(bridged.transforms - alignment.transforms[:50])
    assert difference[:, :, 2].max() < 6
    hidden[20 : 20 + MAXIMUM_GAP + 10] = 70
    check_refused(hidden, "face lost from frame", "cut that part out")


def test_a_cut_is_refused(clip):
    wide = np.full((24, 360, 900, 3), 60, np.uint8)
    wide[:12, :, :480] = clip.frames[:12]
    wide[12:, :, 420:] = clip.frames[12:24]
    check_refused(wide, "jumps before frame", "one unbroken shot")


def test_models_are_read_from_the_data_folder_and_a_bad_one_is_named(clip, monkeypatch, tmp_path):
    monkeypatch.setenv("CDRL_DATA", str(tmp_path))
    with pytest.raises(InputError, match="face model missing; restore it") as caught:
        detect_faces(clip.frames[0])
    model = tmp_path / "faces" / models.DETECTOR
    assert str(model) in str(caught.value)
    model.parent.mkdir()
    model.write_bytes(b"no model")
    with pytest.raises(InputError, match="face model damaged; restore it"):
        detect_faces(clip.frames[0])


def test_a_missing_package_is_named(clip, monkeypatch, tmp_path):
    monkeypatch.setenv("CDRL_DATA", str(tmp_path))  # no model of it has been loaded yet
    real_import = builtins.__import__

    def import_without_litert(name, *arguments, **options):
        if name.startswith("ai_edge_litert"):
            raise ImportError(name)
        return real_import(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", import_without_litert)
    with pytest.raises(InputError, match="needs the package ai-edge-litert"):
        detect_faces(clip.frames[0])


def test_crop_needs_as_many_frames_as_the_alignment_has(clip, alignment):
    with pytest.raises(ValueError, match="zip"):
        crop(clip.frames[:5], alignment)


def test_no_note_of_the_runtime_reaches_the_screen(capfd, clip):
    models._load_model.cache_clear()
    detect_faces(clip.frames[0])
    assert capfd.readouterr().err == ""


# ---- alignment_error: what the studio's truth is measured with

NAMES = (
    "right_eye_outer",
    "right_eye_inner",
    "left_eye_inner",
    "left_eye_outer",
    "nose_bridge",
    "mouth_right",
    "mouth_left",
)
EYE_HEIGHT = CROP_SIZE * EYES_BELOW_TOP / SIDE  # nominal, in the crop
# Crop coordinates of the landmarks.
LANDMARKS = np.array(
    [
        [24, EYE_HEIGHT],
        [37, EYE_HEIGHT],
        [59, EYE_HEIGHT],
        [72, EYE_HEIGHT],
        [48, 33],
        [38, 62],
        [58, 62],
    ]
)
EYE_DISTANCE = 65.5 - 30.5


def moving_truth(generator, num_frames=20):
    """Similarities (T, 2, 3) and the landmarks (T, 7, 2) that they carry from fixed crop points."""
    scale = generator.uniform(0.8, 1.2, num_frames)
    angle = generator.uniform(-0.2, 0.2, num_frames)
    cos = scale * np.cos(angle)
    sin = scale * np.sin(angle)
    linear = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)
    shift = generator.uniform(-20, 20, (num_frames, 2, 1))
    transforms = np.concatenate([linear, shift], axis=2)
    landmarks = np.einsum("tij,lj->tli", linear, LANDMARKS) + shift.transpose(0, 2, 1)
    return transforms, landmarks


def test_true_alignment_has_no_error():
    transforms, landmarks = moving_truth(np.random.default_rng(8))
    error = alignment_error(Alignment(transforms, NO_MOUTH), landmarks, NAMES)
    assert error["eyes"].max() < 1e-9
    assert error["mouth"].max() < 1e-9
    assert error["offset"] < 0.01


def test_alignment_error_of_a_wrong_frame_is_the_shift_in_eye_distances():
    transforms, landmarks = moving_truth(np.random.default_rng(9), num_frames=200)
    # The crop of frame 7 sits 3.5 crop pixels too far right.
    transforms[7, :, 2] += transforms[7, :, :2] @ [3.5, 0]
    error = alignment_error(Alignment(transforms, NO_MOUTH), landmarks, NAMES)
    assert error["eyes"][7] == pytest.approx(3.5 / EYE_DISTANCE, rel=0.02)
    assert error["eyes"][7] == pytest.approx(error["mouth"][7], rel=0.02)
    assert np.delete(error["eyes"], 7).max() < 0.001


def test_an_offset_that_all_frames_share_is_no_alignment_error():
    transforms, landmarks = moving_truth(np.random.default_rng(9), num_frames=200)
    transforms[:, :, 2] += transforms[:, :, :2] @ [0, 7]
    error = alignment_error(Alignment(transforms, NO_MOUTH), landmarks, NAMES)
    assert error["eyes"].max() < 1e-9
    assert error["offset"] == pytest.approx(7 / EYE_DISTANCE, abs=0.01)


@pytest.mark.parametrize("person", [601, 603])
def test_studio_crops_hold_still_to_three_percent_of_the_eye_distance_while_head_and_jaw_move(
    person,
):
    render = pytest.importorskip("cdrl.studio.render").render
    from cdrl.core.vocabulary import ACTIONS
    from cdrl.studio import head

    # One turn of the head and five words in two seconds.
    phase = np.linspace(0, 2 * np.pi, 49)
    coefficients = np.zeros((49, 52), np.float32)
    coefficients[:, ACTIONS.index("jawOpen")] = 0.35 * (1 - np.cos(5 * phase))
    pose = np.zeros((49, 6), np.float32)
    pose[:, 0] = 0.15 * np.sin(phase)
    pose[:, 1] = 0.08 * np.cos(phase)
    pose[:, 3] = 0.04 * np.sin(phase)
    gaze = np.zeros((49, 2), np.float32)
    frames, landmarks = render(person, coefficients, pose, gaze, person, size=128)
    alignment = align(frames, name=f"person {person}")
    error = alignment_error(alignment, landmarks, head.LANDMARKS)
    assert error["eyes"].mean() < 0.03
    assert np.quantile(error["mouth"], 0.95) < 0.06
    assert error["offset"] < 0.15


def damaged_archives():
    """Damaged .npz files of boxes, by name."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, frame=np.arange(50), boxes=np.ones((50, 4)))
    whole = buffer.getvalue()
    middle = len(whole) // 2
    bare = io.BytesIO()
    np.save(bare, np.ones((3, 5)))
    return {
        "nothing": b"",
        "archive's mark alone": b"PK\x03\x04",
        "cut": whole[:middle],
        "without its head": whole[40:],
        "bits turned": whole[:60] + bytes(255 - value for value in whole[60:90]) + whole[90:],
        "a bare array": bare.getvalue(),
        "no numbers": b"PK\x03\x04" + b"x" * 300,
    }


@pytest.mark.parametrize("damage", sorted(damaged_archives()))
def test_a_damaged_archive_of_boxes_is_refused_in_one_line(tmp_path, damage):
    path = tmp_path / "clip.npz"
    path.write_bytes(damaged_archives()[damage])
    with pytest.raises(InputError, match=r"boxes clip\.npz: not readable") as caught:
        read_boxes(path)
    assert "\n" not in str(caught.value) and "frame (N,) and boxes (N, 4)" in str(caught.value)
