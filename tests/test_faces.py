"""Faces from pixels: found, followed, cropped and put back, on the real sample clips."""

import builtins

import numpy as np
import pytest

from cdrl.core.errors import InputError
from cdrl.corpora.samples import sample_paths
from cdrl.media import faces
from cdrl.media import mesh as models
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
    LEFT_EYE,
    RIGHT_EYE,
    detect_faces,
    intersection_over_union,
    mesh_points,
    region_of_box,
    square_crop,
)
from cdrl.media.released_crop import OUTLINE, box_transforms, landmark_box
from cdrl.media.video import read_video


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
def either(request, alignment, released):
    return {"aligned": alignment, "released": released}[request.param]


def resized(frame: np.ndarray, factor: float) -> np.ndarray:
    """The frame enlarged by a factor."""
    height, width = (round(side * factor) for side in frame.shape[:2])
    matrix = np.array([[1 / factor, 0, 0], [0, 1 / factor, 0]])
    return affine_warp(frame, matrix, height, width, max(1, round(1 / factor)))


def bilinear_by_loops(frame, matrix, size, samples):
    """Naive reference of `warp`, float64."""
    out = np.zeros((size, size, 3))
    height, width = frame.shape[:2]
    for i in range(size):
        for j in range(size):
            for k in range(samples * samples):
                u, v = j + (k % samples + 0.5) / samples, i + (k // samples + 0.5) / samples
                x, y = np.clip(matrix @ [u, v, 1] - 0.5, 0, [width - 1, height - 1])
                left, top = int(np.floor(x)), int(np.floor(y))
                right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
                upper = frame[top, left] * (left + 1 - x) + frame[top, right] * (x - left)
                lower = frame[bottom, left] * (left + 1 - x) + frame[bottom, right] * (x - left)
                out[i, j] += (upper * (top + 1 - y) + lower * (y - top)) / samples**2
    return out


def test_warp_agrees_with_the_loop_reference():
    generator = np.random.default_rng(4)
    frame = generator.integers(0, 256, (23, 31, 3), np.uint8)
    for samples, scale in ((1, 0.9), (2, 1.9), (3, 2.6)):
        matrix = np.array([[scale, -0.3, 4.2], [0.3, scale, -3.1]])
        difference = affine_warp(frame, matrix, 12, 12, samples) - bilinear_by_loops(
            frame, matrix, 12, samples
        )
        assert np.abs(difference).max() <= 0.51  # rounding to uint8 only


def test_identity_warp_returns_the_image():
    frame = np.random.default_rng(5).integers(0, 256, (17, 17, 3), np.uint8)
    assert (affine_warp(frame, np.array([[1.0, 0, 0], [0, 1, 0]]), 17, 17, 1) == frame).all()


def test_crop_of_a_whole_square_frame_is_that_frame_and_follows_the_size():
    frames = np.random.default_rng(6).integers(0, 256, (2, CROP_SIZE, CROP_SIZE, 3), np.uint8)
    whole = Alignment(
        np.tile(np.array([[1, 0, 0], [0, 1, 0]], np.float32), (2, 1, 1)), np.zeros(4, np.float32)
    )
    assert (crop(frames, whole, CROP_SIZE) == frames).all()
    halves = crop(frames, whole, CROP_SIZE // 2)
    means = frames.reshape(2, CROP_SIZE // 2, 2, CROP_SIZE // 2, 2, 3).mean(axis=(2, 4))
    assert np.abs(halves - means).max() <= 0.51


def test_detector_finds_the_face_and_agrees_with_the_mesh_about_the_eyes(clip):
    boxes, scores, eyes = detect_faces(clip.frames[0])
    assert len(boxes) == 1 and scores[0] > 0.8
    points, score = mesh_points(clip.frames[0], region_of_box(boxes[0], eyes[0]))
    assert score > 0.9
    for eye, corners in zip(eyes[0], (LEFT_EYE, RIGHT_EYE), strict=True):
        assert np.linalg.norm(points[list(corners), :2].mean(axis=0) - eye) < 6
    assert (points[:, 0] > boxes[0, 0] - 15).all() and (points[:, 0] < boxes[0, 2] + 15).all()


@pytest.mark.parametrize("factor", [0.4, 0.7, 1.6])
def test_faces_of_other_sizes_are_found_where_they_are(clip, factor):
    boxes, _, _ = detect_faces(clip.frames[0])
    found, _, _ = detect_faces(resized(clip.frames[0], factor))
    assert len(found) == 1
    assert intersection_over_union(found[0] / factor, boxes[0]) > 0.75


def test_small_faces_in_large_pictures_are_found(clip):
    canvas = np.full((720, 1280, 3), 90, np.uint8)
    small = resized(clip.frames[0], 0.5)  # a face some 60 px wide
    canvas[500 : 500 + len(small), 900 : 900 + small.shape[1]] = small
    found, _, _ = detect_faces(canvas)
    assert len(found) == 1
    assert abs((found[0, 0] + found[0, 2]) / 2 - (900 + 217 / 2)) < 10


def test_overlap_of_boxes_in_closed_form():
    one = np.array([0.0, 0, 2, 2])
    assert intersection_over_union(one, one) == 1
    assert intersection_over_union(one, one + 1) == pytest.approx(1 / 7)
    assert intersection_over_union(one, one + 5) == 0


def test_square_crop_maps_its_middle_to_the_centre_and_turns_with_the_angle():
    frame = np.zeros((60, 80, 3), np.uint8)
    frame[30, 50:60] = 255  # a horizontal line right of the centre
    image, matrix = square_crop(frame, (45.0, 30.5), 40.0, np.pi / 2, 40)
    assert np.allclose(matrix @ [20, 20, 1], [45, 30.5])
    rows, _ = np.nonzero(image[..., 0] > 100)
    assert len(rows) and rows.max() < 20  # turned clockwise, the region sees it upwards


def test_eyes_and_nose_stay_where_they_belong_while_the_mouth_opens(clip, alignment):
    boxes, _, eyes = detect_faces(clip.frames[0])
    region, eye_points, openings = region_of_box(boxes[0], eyes[0]), [], []
    for frame, matrix in zip(clip.frames, alignment.transforms, strict=True):
        points = mesh_points(frame, region)[0][:, :2]
        placed = (points - matrix[:, 2]) @ np.linalg.inv(matrix[:, :2]).T / CROP_SIZE
        eye_points.append([placed[list(corners)].mean(axis=0) for corners in (LEFT_EYE, RIGHT_EYE)])
        openings.append(placed[14, 1] - placed[13, 1])
    eye_points = np.array(eye_points)
    between = np.linalg.norm(eye_points[:, 1] - eye_points[:, 0], axis=1).mean()
    assert np.ptp(openings) > 0.1  # the mouth does open
    assert eye_points.std(axis=0).max() < 0.03 * between
    assert np.abs(eye_points.mean(axis=(0, 1)) - [0.5, EYES_BELOW_TOP / SIDE]).max() < 0.02
    assert between == pytest.approx(
        0.692 / SIDE, rel=0.025
    )  # the template's eye centres are .692 apart


def test_mouth_box_has_its_fixed_shape_and_holds_the_lips(clip, alignment):
    left, top, right, bottom = alignment.mouth_box
    assert right - left == pytest.approx(MOUTH_WIDTH, abs=1e-6)
    assert bottom - top == pytest.approx(MOUTH_WIDTH / 1.5, abs=1e-6)
    region = None
    for frame, matrix in zip(clip.frames[::7], alignment.transforms[::7], strict=True):
        boxes, _, eyes = detect_faces(frame)
        region = region or region_of_box(boxes[0], eyes[0])
        lips = (
            (mesh_points(frame, region)[0][list(models.LIPS), :2] - matrix[:, 2])
            @ np.linalg.inv(matrix[:, :2]).T
            / CROP_SIZE
        )
        inside = (lips > [left, top - 0.02]) & (lips < [right, bottom + 0.02])
        assert inside.all()


def test_enlarged_or_shifted_video_gives_the_same_crops(clip, alignment):
    part, crops = clip.frames[:9], crop(clip.frames[:9], alignment.part(0, 9))
    reference = crop(part, align(part))
    assert np.abs(crops.astype(int) - reference).mean() < 4
    shifted = np.roll(part, (12, -20), axis=(1, 2))
    assert np.abs(crop(shifted, align(shifted)).astype(int) - reference).mean() < 3
    larger = np.stack([resized(frame, 1.5) for frame in part])
    assert np.abs(crop(larger, align(larger)).astype(int) - reference).mean() < 4


def test_strides_agree_and_a_generator_gives_what_an_array_gives(clip, alignment):
    every = align(clip.frames[:25], stride=1)
    fourth = align(clip.frames[:25], stride=4)
    assert (
        np.abs(every.transforms - fourth.transforms)[:, :, 2].max() < 2
    )  # pixels of a 480 x 360 frame
    streamed = align((frame for frame in clip.frames), stride=4)
    assert (streamed.transforms == alignment.transforms).all()


def test_unchanged_crops_leave_every_pixel_as_it_was(clip, either):
    for size in (48, 96, 128):
        frames, part = clip.frames[:3], either.part(0, 3)
        assert (paste(frames, crop(frames, part, size), part) == frames).all()


def test_edits_reach_the_face_and_nothing_outside_the_crop(clip, either):
    frames, part = clip.frames[:2], either.part(0, 2)
    crops = crop(frames, part, 128)
    edited = np.clip(crops.astype(int) + 40, 0, 255).astype(np.uint8)
    out = paste(frames, edited, part)
    assert np.abs(crop(out, part, 128).astype(int) - edited)[:, 40:90, 40:90].mean() < 3
    inverse = np.linalg.inv(np.vstack([part.transforms[0], [0, 0, 1]]))
    rows, columns = np.mgrid[: frames.shape[1], : frames.shape[2]] + 0.5
    u, v = (inverse[k, 0] * columns + inverse[k, 1] * rows + inverse[k, 2] for k in (0, 1))
    outside = (u < 0) | (u > CROP_SIZE) | (v < 0) | (v > CROP_SIZE)
    assert (out[0][outside] == frames[0][outside]).all()
    changed = np.abs(out[0].astype(int) - frames[0]).max(axis=2)
    border = ~outside & ((u < 2) | (u > CROP_SIZE - 2) | (v < 2) | (v > CROP_SIZE - 2))
    assert changed[border].max() <= 6  # of 40: no seam


def test_a_landmark_box_is_a_tenth_wider_on_every_side_and_its_map_goes_to_its_corners():
    points = np.array([[30.0, 50], [70, 40], [55, 120], [41, 77]])
    left, right, top, bottom = 30 - 4, 70 + 4, 40 - 8, 120 + 8  # 40 wide, 80 high
    assert landmark_box(points).tolist() == [left, top, right, bottom]
    (matrix,) = box_transforms(landmark_box(points)[None], 96)
    corners = matrix[:, :2] @ np.array([[0, 96, 0, 96], [0, 0, 96, 96]]) + matrix[:, 2:]
    assert np.allclose(corners.T, [[left, top], [right, top], [left, bottom], [right, bottom]])
    back = np.linalg.inv(np.vstack([matrix, [0, 0, 1]])) @ np.vstack([points.T, np.ones(4)])
    assert np.allclose(matrix @ back, points.T)


@pytest.mark.parametrize("box", [(4, 6, 44, 36), (5.3, 2.2, 20.9, 48.7)])
def test_a_stretched_crop_is_that_part_of_the_frame_resized(box):
    frame = np.random.default_rng(10).integers(0, 256, (50, 60, 3), np.uint8)
    left, top, right, bottom = box
    across, down = (right - left) / 10, (bottom - top) / 10
    place = Alignment(box_transforms(np.array([box], float), CROP_SIZE).astype(np.float32), np.zeros(4))
    naive = bilinear_by_loops(
        frame,
        np.array([[across, 0, left], [0, down, top]]),
        10,
        int(np.ceil(max(across, down) - 0.25)),
    )
    assert np.abs(crop(frame[None], place, 10)[0] - naive).max() <= 0.52
    if box == (4, 6, 44, 36):  # whole pixels: their plain means
        assert (
            np.abs(naive - frame[6:36, 4:44].reshape(10, 3, 10, 4, 3).mean(axis=(1, 3))).max() < 16
        )


def test_the_released_crop_is_the_box_of_each_frame_s_landmarks_and_the_jaw_moves_it(
    clip, alignment, monkeypatch
):
    seen = {}

    def noted(frame, region):
        points, score = models.mesh_points(frame, region)
        seen[frame.tobytes()] = points[:, :2]  # the last look at a frame counts
        return points, score

    monkeypatch.setattr(faces, "mesh_points", noted)
    frames = clip.frames[:40]
    released, heights = align(frames, stride=4, crop="released"), []
    for frame, matrix, steady in zip(
        frames, released.transforms.astype(float), alignment.transforms.astype(float)
    ):
        points = seen[frame.tobytes()]
        xs, ys = [points[k][0] for k in OUTLINE], [points[k][1] for k in OUTLINE]
        wide, high = max(xs) - min(xs), max(ys) - min(ys)
        naive = [min(xs) - wide / 10, min(ys) - high / 10, max(xs) + wide / 10, max(ys) + high / 10]
        assert np.allclose(
            [*matrix[:, 2], *(matrix[:, 2] + matrix[:, :2] @ [CROP_SIZE, CROP_SIZE])], naive, atol=1e-3
        )
        assert matrix[0, 1] == matrix[1, 0] == 0
        eyes = points[list(LEFT_EYE + RIGHT_EYE)].mean(axis=0)
        heights.append(
            [np.linalg.solve(m[:, :2], eyes - m[:, 2])[1] / CROP_SIZE for m in (matrix, steady)]
        )
    eyes_move, aligned_eyes_move = np.std(heights, axis=0)
    assert eyes_move > 1.5 * aligned_eyes_move  # the mouth opens wide in this clip


def test_the_mouth_is_the_same_part_of_the_face_in_both_crops(clip, alignment, released):
    sizes = []
    for place in (alignment, released):
        scale = np.median(np.abs(place.transforms[:, [0, 1], [0, 1]]), axis=0) * CROP_SIZE
        sizes.append((place.mouth_box[2:] - place.mouth_box[:2]) * scale)
    assert sizes[1] == pytest.approx(sizes[0], rel=0.03)
    pictures = [crop(clip.frames[:1], place.part(0, 1), 480)[0] for place in (alignment, released)]
    boxes = [(place.mouth_box * 480).astype(int) for place in (alignment, released)]
    mouths = [
        resized_to(picture[b[1] : b[3], b[0] : b[2]], 32, 48)
        for picture, b in zip(pictures, boxes, strict=True)
    ]
    assert np.corrcoef(mouths[0].ravel(), mouths[1].ravel())[0, 1] > 0.8


def resized_to(picture, height, width):
    matrix = np.array([[picture.shape[1] / width, 0, 0], [0, picture.shape[0] / height, 0]])
    return affine_warp(np.ascontiguousarray(picture), matrix, height, width, 4).astype(float)


def test_another_crop_is_refused(clip):
    with pytest.raises(InputError, match="crop=square: accepted are aligned, released"):
        align(clip.frames[:1], crop="square")


def test_replaced_picture_shows_no_ghost_of_the_old_one():
    stripes = np.zeros((1, CROP_SIZE, CROP_SIZE, 3), np.uint8)
    stripes[:, :, ::2] = 200  # finer than the edited crop of half the size can hold
    whole = Alignment(np.array([[[1, 0, 0], [0, 1, 0]]], np.float32), np.zeros(4, np.float32))
    edited = np.full((1, CROP_SIZE // 2, CROP_SIZE // 2, 3), 230, np.uint8)
    middle = paste(stripes, edited, whole)[0, 30:60, 30:60]
    assert np.abs(middle.astype(int) - 230).max() <= 1
    slight = np.full((1, CROP_SIZE // 2, CROP_SIZE // 2, 3), 104, np.uint8)  # the stripes' mean is 100
    kept = paste(stripes, slight, whole)[0, 30:60, 30:60].astype(int)
    assert kept[:, ::2].mean() - kept[:, 1::2].mean() > 180


def refused(frames, *words, name="holiday.mp4"):
    with pytest.raises(InputError) as caught:
        align(frames, name=name)
    message = str(caught.value)
    assert message.startswith(name) and "\n" not in message
    for word in words:
        assert word in message, message


def test_faceless_video_is_refused(clip):
    refused(clip.frames[:1, :, :100], "no face found", "frontal face of at least")
    refused(np.random.default_rng(7).integers(0, 256, (1, 120, 160, 3), np.uint8), "no face found")


def test_two_faces_are_refused(clip):
    refused(
        np.concatenate([clip.frames[:6], clip.frames[10:16]], axis=2),
        "more than one face",
        "one person",
    )


def test_second_face_that_comes_later_is_refused(clip):
    alone = np.concatenate([clip.frames, np.full_like(clip.frames, 60)], axis=2)
    alone[40:, :, 480:] = clip.frames[40:]
    refused(alone, "more than one face")


def test_too_small_a_face_is_refused(clip):
    refused(
        np.stack([resized(frame, 0.18) for frame in clip.frames[:5]]), "px wide", "at least 24 px"
    )


def test_short_loss_of_the_face_is_bridged_and_a_long_one_refused(clip, alignment):
    hidden = clip.frames[:50].copy()
    hidden[20:26] = 70
    bridged = align(hidden)
    assert np.abs(bridged.transforms - alignment.transforms[:50])[:, :, 2].max() < 6
    hidden[20 : 20 + MAXIMUM_GAP + 10] = 70
    refused(hidden, "face lost from frame", "cut that part out")


def test_a_cut_is_refused(clip):
    wide = np.full((24, 360, 900, 3), 60, np.uint8)
    wide[:12, :, :480] = clip.frames[:12]
    wide[12:, :, 420:] = clip.frames[12:24]
    refused(wide, "jumps before frame", "one unbroken shot")


def test_missing_model_and_missing_package_are_named(clip, monkeypatch, tmp_path):
    models._interpreter.cache_clear()
    monkeypatch.setattr(models, "MODELS", tmp_path)
    with pytest.raises(InputError, match="face model missing; restore it"):
        detect_faces(clip.frames[0])
    (tmp_path / models.DETECTOR).write_bytes(b"no model")
    with pytest.raises(InputError, match="face model damaged; restore it"):
        detect_faces(clip.frames[0])
    original = builtins.__import__

    def without(name, *arguments, **options):
        if name.startswith("ai_edge_litert"):
            raise ImportError(name)
        return original(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match="needs the package ai-edge-litert"):
        detect_faces(clip.frames[0])


def test_crop_needs_as_many_frames_as_the_alignment_has(clip, alignment):
    with pytest.raises(ValueError, match="zip"):
        crop(clip.frames[:5], alignment)


def test_no_note_of_the_runtime_reaches_the_screen(capfd, clip):
    models._interpreter.cache_clear()
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
EYES = CROP_SIZE * EYES_BELOW_TOP / SIDE  # their nominal height in the crop
PLACES = np.array(
    [[24, EYES], [37, EYES], [59, EYES], [72, EYES], [48, 33], [38, 62], [58, 62]]
)  # crop coordinates


def moving_truth(generator, count=20):
    """Similarities (T, 2, 3) and the landmarks (T, 7, 2) that they carry from fixed places in the crop."""
    scale, angle = generator.uniform(0.8, 1.2, count), generator.uniform(-0.2, 0.2, count)
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.stack([np.stack([cos, -sin], 1), np.stack([sin, cos], 1)], 1)
    shift = generator.uniform(-20, 20, (count, 2, 1))
    transforms = np.concatenate([linear, shift], axis=2)
    return transforms, np.einsum("tij,lj->tli", linear, PLACES) + shift.transpose(0, 2, 1)


def test_true_alignment_has_no_error():
    transforms, landmarks = moving_truth(np.random.default_rng(8))
    error = alignment_error(Alignment(transforms, np.zeros(4)), landmarks, NAMES)
    assert error["eyes"].max() < 1e-9 and error["mouth"].max() < 1e-9
    assert error["offset"] < 0.01


def test_alignment_error_of_a_wrong_frame_is_the_shift_in_eye_distances():
    transforms, landmarks = moving_truth(np.random.default_rng(9), count=200)
    wrong = transforms.copy()
    wrong[7, :, 2] += wrong[7, :, :2] @ [
        3.5,
        0,
    ]  # the crop of frame 7 sits 3.5 crop pixels too far right
    error = alignment_error(Alignment(wrong, np.zeros(4)), landmarks, NAMES)
    between = 65.5 - 30.5
    assert (
        error["eyes"][7]
        == pytest.approx(3.5 / between, rel=0.02)
        == pytest.approx(error["mouth"][7], rel=0.02)
    )
    assert np.delete(error["eyes"], 7).max() < 0.001
    aside = transforms.copy()
    aside[:, :, 2] += transforms[:, :, :2] @ [0, 7]  # all frames alike: an offset, no error
    error = alignment_error(Alignment(aside, np.zeros(4)), landmarks, NAMES)
    assert error["eyes"].max() < 1e-9 and error["offset"] == pytest.approx(7 / between, abs=0.01)


def test_studio_crops_hold_still_to_three_percent_of_the_eye_distance_while_head_and_jaw_move():
    render = pytest.importorskip("cdrl.studio.render").render
    from cdrl.core.vocabulary import ACTIONS
    from cdrl.studio.head import LANDMARKS

    phase = np.linspace(0, 2 * np.pi, 49)  # one turn of the head and five words in two seconds
    coefficients, pose = np.zeros((49, 52), np.float32), np.zeros((49, 6), np.float32)
    coefficients[:, ACTIONS.index("jawOpen")] = 0.35 * (1 - np.cos(5 * phase))
    pose[:, 0], pose[:, 1], pose[:, 3] = (
        0.15 * np.sin(phase),
        0.08 * np.cos(phase),
        0.04 * np.sin(phase),
    )
    for person in (601, 603):
        frames, landmarks = render(
            person, coefficients, pose, np.zeros((49, 2), np.float32), person, size=128
        )
        error = alignment_error(align(frames, name=f"person {person}"), landmarks, LANDMARKS)
        assert error["eyes"].mean() < 0.03 and np.quantile(error["mouth"], 0.95) < 0.06
        assert error["offset"] < 0.15
