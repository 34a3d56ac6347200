"""Face crops from pixels, for every clip of every corpus, and edited crops back into the frames.

A crop is a similarity (shift, roll, scale) that puts the rigid part of the face, eye corners and
nose bridge, always at the same place: brows and some forehead at the top, the chin of an open jaw
at the bottom. Mouth, brows and cheeks do not count, so they move IN the crop and do not move the
crop. The release's crop, for comparison, is another map from crop to frame
(`cdrl.media.released_crop`); finding, refusing, cropping and putting back are the same.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from cdrl.core.errors import InputError
from cdrl.media.image_warp import add_difference, affine_warp
from cdrl.media.mesh import LIPS, Detections, Region, detect_faces, mesh_points, region_of_box
from cdrl.media.released_crop import OUTLINE, box_transforms, landmark_box

# Alignments are stated for a crop of this many pixels a side; `crop` renders any size from them.
CROP_SIZE = 96
CROP_KINDS = ("aligned", "released")
# Rigid mesh points (eye corners, nose bridge) and where they are in a frontal face: x right, y
# down, z away from the camera, unit = distance of the outer eye corners, origin between the eyes.
# Mean of the mesh over the sample clips, made symmetric; over those clips each point stays within
# .003 to .007 of it (standard deviation).
RIGID = (33, 133, 362, 263, 168, 6, 197, 195)
TEMPLATE = np.array(
    [
        [-0.500, 0.000, 0.028],
        [-0.192, 0.008, -0.029],
        [0.192, 0.008, -0.029],
        [0.500, 0.000, 0.028],
        [0.000, -0.048, -0.223],
        [0.000, 0.037, -0.266],
        [0.000, 0.118, -0.317],
        [0.000, 0.193, -0.374],
    ]
)
# In the same unit: side of the crop, height of the eyes below its upper edge, and depth of the
# point that it is centred on.
SIDE = 2.05
EYES_BELOW_TOP = 0.52
DEPTH = -0.10
# Middle and side of the square that the mesh sees from the second frame on: least alignment error
# on the studio.
REGION_BELOW_EYES = 0.40
REGION_SIDE = 2.4
# Width of the mouth box, a fraction of the crop's side, and its width by its height.
MOUTH_WIDTH = 0.47
MOUTH_ASPECT = 1.5
# Pixels, ear to ear; on studio frames alignment at 26 px is nearly as good as at 60.
MINIMUM_FACE = 24
BREADTH = 1.5  # ear to ear, in distances of the outer eye corners
MAXIMUM_GAP = 12  # frames over which a lost face is bridged
SECOND_FACE = 0.4  # a second face counts from this fraction of the first one's width
CHECK_EVERY = 25  # frames between searches for a second face
SEARCHES_FOR_SMALL = 3  # while a face is lost, so many searches look for small faces too: slow
LARGEST_JUMP = 0.75  # of the crop's side, between two key frames; more is a cut
MAXIMUM_TURN = np.radians(55)
# Temporal smoothing: standard deviations in frames of shift, roll and scale.
SMOOTHING = {"shift": 1.0, "roll": 3.0, "scale": 6.0}

# (number of the frame, (H, W, 3) uint8 frame, whether to look for small faces) -> `Detections`.
Detector = Callable[[int, np.ndarray, bool], tuple[np.ndarray, np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Alignment:
    """Where the face is in each frame.

    Attributes:
        transforms: (T, 2, 3) float32, crop coordinates in [0, CROP_SIZE] -> frame pixels
            (continuous: the centre of the first pixel is at .5, .5); a similarity, or of the
            released crop a scale for each axis.
        mouth_box: (4,) float32 left, top, right, bottom in the crop, 0 to 1; one box for the clip.
    """

    transforms: np.ndarray
    mouth_box: np.ndarray

    def __len__(self) -> int:
        return len(self.transforms)

    def part(self, start: int, stop: int) -> "Alignment":
        """The alignment of frames start..stop, for work in chunks."""
        return Alignment(self.transforms[start:stop], self.mouth_box)


def find_face(index: int, frame: np.ndarray, small: bool) -> Detections:
    """The embedded detector in the form that `align` calls; `cdrl.media.detectors` has others.

    Args:
        index: number of the frame.
        frame: (H, W, 3) uint8 RGB.
        small: whether to look for small faces, which is slow.

    Returns:
        As `mesh.detect_faces`: boxes (F, 4), scores (F,), eyes (F, 2, 2).
    """
    return detect_faces(frame, small=small)


def align(
    frames: Iterable[np.ndarray],
    stride: int = 4,
    name: str = "clip",
    detector: Detector = find_face,
    crop: str = "aligned",
) -> Alignment:
    """Find and follow the one face of a clip.

    Args:
        frames: (T, H, W, 3) uint8 RGB, or any iterable of such images (read once, none is kept).
        stride: every stride-th frame is looked at; the frames between are interpolated.
        name: what errors call the clip: its file.
        detector: called as `find_face` is: where no face is followed, and now and then to look for
            a second face.
        crop: `aligned`, smoothed over time; or `released`, the release's box, which looks at every
            frame and smooths nothing.

    Raises:
        InputError: no face, two faces, a face that is too small, turned away, lost for long, or a
            cut; another crop.
    """
    if crop not in CROP_KINDS:
        raise InputError(f"crop={crop}: accepted are {', '.join(CROP_KINDS)}")
    stride = stride if crop == "aligned" else 1
    tracker = _FaceTracker(name, detector)
    num_frames = 0
    last_frame: np.ndarray | None = None
    for index, frame in enumerate(frames):
        if index % stride == 0:
            tracker.observe(index, frame)
        last_frame = frame
        num_frames = index + 1
    last_index = num_frames - 1
    if last_frame is not None and last_index % stride:
        tracker.observe(last_index, last_frame)
    return tracker.finish(num_frames, crop)


class _FaceTracker:
    """Looks at key frames one by one and keeps the pose of the face, its lips and landmark box.

    A pose is (4,): x, y of the aligned crop's centre in the frame, roll (radians), and the log of
    the distance of the outer eye corners (pixels).

    Args:
        name: what errors call the clip.
        detector: see `align`.
    """

    def __init__(self, name: str, detector: Detector) -> None:
        self.name = name
        self.detector = detector

        self.region: Region | None = None  # where the face is expected; None while it is lost
        self.searched_at = -CHECK_EVERY  # frame of the last search with the detector
        self.num_searches = 0
        self.num_turned = 0  # key frames whose face was turned away

        self.indices: list[int] = []  # of the key frames
        self.poses: list[np.ndarray] = []  # of the key frames; NaN where there is no face
        self.lips: list[np.ndarray] = []  # (L, 2) of the key frames with a face
        self.boxes: list[np.ndarray] = []  # (4,) of the key frames with a face

    def observe(self, index: int, frame: np.ndarray) -> None:
        """Look at key frame number `index`, (H, W, 3) uint8."""
        if self.region is None or index - self.searched_at >= CHECK_EVERY:
            self._search(index, frame)
        self.indices.append(index)

        points = self._find_mesh(index, frame)
        if points is None:
            self._lose_face()
            return
        pose, turn = pose_and_turn(points)

        if turn > MAXIMUM_TURN:
            self.num_turned += 1
            self._lose_face()
            return

        self.region = region_of_pose(pose)
        self.poses.append(pose)
        self.lips.append(points[LIPS, :2])
        self.boxes.append(landmark_box(points[OUTLINE, :2]))

    def _find_mesh(self, index: int, frame: np.ndarray) -> np.ndarray | None:
        """(468, 3) mesh points in the expected region; None where there is no face."""
        if self.region is None:
            return None
        points, score = mesh_points(frame, self.region)
        # A detector's box is rough: look again where the mesh is.
        if self.searched_at == index:
            pose, _ = pose_and_turn(points)
            points, score = mesh_points(frame, region_of_pose(pose))
        return points if score > 0.5 else None

    def _lose_face(self) -> None:
        self.region = None
        self.poses.append(np.full(4, np.nan))

    def _search(self, index: int, frame: np.ndarray) -> None:
        """Detect; refuse two faces.

        Parts of the frame are searched only for the first few misses: it is slow.
        """
        small = True
        if self.poses:
            was_lost = np.isnan(self.poses[-1][0])
            small = bool(was_lost) and self.num_searches < SEARCHES_FOR_SMALL

        boxes, _, eyes = self.detector(index, frame, small)
        self.searched_at = index
        self.num_searches += 1
        if len(boxes) == 0:
            return

        widths = boxes[:, 2] - boxes[:, 0]
        widest = int(np.argmax(widths))
        is_person = widths > SECOND_FACE * widths[widest]
        if is_person.sum() > 1:
            raise InputError(
                f"{self.name}: more than one face (frame {index}); give a video that shows one "
                "person"
            )
        if self.region is None:
            self.region = region_of_box(boxes[widest], eyes[widest])

    def finish(self, num_frames: int, crop: str) -> Alignment:
        """The alignment of all frames from the key frames.

        Args:
            num_frames: of the clip.
            crop: `aligned` or `released`.
        """
        indices = np.array(self.indices)
        poses = np.array(self.poses).reshape(-1, 4)
        has_face = np.isfinite(poses[:, 0])
        if not has_face.any():
            raise self._no_face(num_frames)

        indices = indices[has_face]
        poses = poses[has_face]
        self._refuse_small_face(poses)
        self._refuse_gap(indices, num_frames)
        self._refuse_cut(indices, poses)

        boxes = np.array(self.boxes)
        lips = np.array(self.lips)
        return build_alignment(indices, poses, lips, boxes, num_frames, crop)

    def _no_face(self, num_frames: int) -> InputError:
        if self.num_turned:
            return InputError(
                f"{self.name}: the face is turned away from the camera; a frontal or three-quarter "
                "view is needed"
            )
        return InputError(
            f"{self.name}: no face found (frames 0 to {num_frames - 1}); a frontal face of at "
            f"least {MINIMUM_FACE} px is needed"
        )

    def _refuse_small_face(self, poses: np.ndarray) -> None:
        eye_distances = np.exp(poses[:, 3])
        breadth = BREADTH * float(np.median(eye_distances))
        if breadth < MINIMUM_FACE:
            raise InputError(
                f"{self.name}: the face is {breadth:.0f} px wide; at least {MINIMUM_FACE} px are "
                "needed"
            )

    def _refuse_gap(self, indices: np.ndarray, num_frames: int) -> None:
        """Refuse a clip whose face is lost for more frames than are bridged."""
        borders = np.concatenate([[-1], indices, [num_frames]])

        steps = np.diff(borders)
        longest = int(np.argmax(steps))
        stride = 0
        if len(self.indices) > 1:
            stride = self.indices[1] - self.indices[0]

        if steps[longest] - 1 > max(MAXIMUM_GAP, stride):
            first_lost = borders[longest] + 1
            last_lost = borders[longest + 1] - 1
            raise InputError(
                f"{self.name}: face lost from frame {first_lost} to {last_lost}; it must be seen, "
                f"turned to the camera, at least every {MAXIMUM_GAP} frames: cut that part out"
            )

    def _refuse_cut(self, indices: np.ndarray, poses: np.ndarray) -> None:
        """Refuse a clip whose face jumps, as it does at a cut."""
        if len(poses) < 2:
            return
        shifts = np.diff(poses[:, :2], axis=0)
        distances = np.hypot(shifts[:, 0], shifts[:, 1])
        crop_sides = SIDE * np.exp(poses[:-1, 3])
        jumps = distances / crop_sides

        if jumps.max() > LARGEST_JUMP:
            frame = indices[int(np.argmax(jumps)) + 1]
            raise InputError(
                f"{self.name}: the face jumps before frame {frame}, as at a cut; give one unbroken "
                "shot"
            )


def build_alignment(
    indices: np.ndarray,
    poses: np.ndarray,
    lips: np.ndarray,
    boxes: np.ndarray,
    num_frames: int,
    crop: str,
) -> Alignment:
    """The alignment of all frames from what is known of key frames.

    Args:
        indices: (K,) numbers of the key frames.
        poses: (K, 4) as `pose_and_turn` returns them.
        lips: (K, L, 2) lip points, frame pixels.
        boxes: (K, 4) landmark boxes, frame pixels.
        num_frames: T.
        crop: `aligned` or `released`.
    """
    if crop == "released":
        key_transforms = box_transforms(boxes, CROP_SIZE)
        frame_boxes = interpolate_rows(indices, boxes, num_frames)
        transforms = box_transforms(frame_boxes, CROP_SIZE)
    else:
        key_transforms = pose_transforms(poses)
        path = smooth_path(indices, poses, num_frames)
        transforms = pose_transforms(path)

    mouth_box = mouth_box_of(lips, key_transforms, poses)
    return Alignment(transforms.astype(np.float32), mouth_box)


def pose_and_turn(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Pose of the rigid points against the template.

    Least squares in 3-D, so that a turn of the head is no change of size.

    Args:
        points: (468, 3) of the mesh, frame pixels.

    Returns:
        (4,) x, y of the crop's centre in the frame, roll (radians), log of the outer eye distance
        (pixels); and the angle (radians) between the face and the camera.
    """
    rigid = points[list(RIGID)]
    shift = rigid.mean(axis=0)
    origin = TEMPLATE.mean(axis=0)
    template = TEMPLATE - origin
    left, strengths, right = np.linalg.svd((rigid - shift).T @ template)
    handedness = np.sign(np.linalg.det(left @ right))
    signs = np.array([1.0, 1.0, handedness])
    rotation = left @ np.diag(signs) @ right
    scale = float((strengths * signs).sum() / (template**2).sum())

    template_centre = np.array([0, SIDE / 2 - EYES_BELOW_TOP, DEPTH])
    centre = scale * rotation @ (template_centre - origin) + shift
    roll = np.arctan2(rotation[1, 0], rotation[0, 0])
    turn = np.arccos(np.clip(rotation[2, 2], -1, 1))
    return np.array([centre[0], centre[1], roll, np.log(scale)]), float(turn)


def region_of_pose(pose: np.ndarray) -> Region:
    """Where the mesh looks next: a square that depends on the rigid points, not on the jaw.

    Args:
        pose: (4,) as `pose_and_turn` returns it.
    """
    x, y, roll, log_size = pose
    size = np.exp(log_size)
    below = (REGION_BELOW_EYES - (SIDE / 2 - EYES_BELOW_TOP)) * size
    centre = np.array([x - below * np.sin(roll), y + below * np.cos(roll)])
    return Region(centre, REGION_SIDE * float(size), roll)


def interpolate_rows(indices: np.ndarray, values: np.ndarray, num_frames: int) -> np.ndarray:
    """(K, D) values at key frames -> (T, D), linear; the ends continue with the nearest value.

    Args:
        indices: (K,) numbers of the key frames.
        values: (K, D).
        num_frames: T.
    """
    frames = np.arange(num_frames)
    columns = [np.interp(frames, indices, column) for column in values.T]
    return np.stack(columns, axis=1)


def smooth_path(indices: np.ndarray, poses: np.ndarray, num_frames: int) -> np.ndarray:
    """(K, 4) poses at key frames -> (T, 4): linear in between, then smoothed.

    Args:
        indices: (K,) numbers of the key frames.
        poses: (K, 4) as `pose_and_turn` returns them.
        num_frames: T.
    """
    poses = poses.copy()
    poses[:, 2] = np.unwrap(poses[:, 2])
    path = interpolate_rows(indices, poses, num_frames)
    widths = (SMOOTHING["shift"], SMOOTHING["shift"], SMOOTHING["roll"], SMOOTHING["scale"])
    columns = [_smooth(path[:, k], width) for k, width in enumerate(widths)]
    return np.stack(columns, axis=1)


def _smooth(values: np.ndarray, width: float) -> np.ndarray:
    """Gaussian mean of (T,) values; the ends are extended point-symmetrically.

    So a steady motion stays as it is.
    """
    reach = min(int(3 * width + 0.5), len(values) - 1)
    if reach < 1:
        return values
    offsets = np.arange(-reach, reach + 1) / width
    kernel = np.exp(-0.5 * offsets**2)
    padded = np.pad(values, reach, "reflect", reflect_type="odd")
    return np.convolve(padded, kernel / kernel.sum(), mode="valid")


def pose_transforms(poses: np.ndarray) -> np.ndarray:
    """(T, 4) poses -> (T, 2, 3) maps from crop coordinates to frame pixels.

    Args:
        poses: (T, 4) as `pose_and_turn` returns them.
    """
    roll = poses[:, 2]
    scale = SIDE * np.exp(poses[:, 3]) / CROP_SIZE
    cos = scale * np.cos(roll)
    sin = scale * np.sin(roll)
    first_row = np.stack([cos, -sin], axis=1)
    second_row = np.stack([sin, cos], axis=1)
    linear = np.stack([first_row, second_row], axis=1)
    shift = poses[:, :2] - linear @ np.full(2, CROP_SIZE / 2)
    return np.concatenate([linear, shift[:, :, None]], axis=2)


def mouth_box_of(lips: np.ndarray, transforms: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """A box about the middle of the lips, kept inside the crop.

    It spans the same part of the face in every crop: `MOUTH_WIDTH` of the aligned one's side,
    whatever the lips do.

    Args:
        lips: (K, L, 2) lip points, frame pixels.
        transforms: (K, 2, 3) crop coordinates -> frame pixels.
        poses: (K, 4).

    Returns:
        (4,) float32 left, top, right, bottom, 0 to 1.
    """
    linear = transforms[:, :, :2]
    relative = to_crop(lips, transforms) / CROP_SIZE
    middles = (relative.min(axis=1) + relative.max(axis=1)) / 2
    x, y = np.median(middles, axis=0)

    # Side of an aligned crop, measured in this crop.
    aligned_side = SIDE * np.exp(poses[:, 3:])
    own_side = np.linalg.norm(linear, axis=1) * CROP_SIZE
    side = np.median(aligned_side / own_side, axis=0)
    half_width, half_height = side * MOUTH_WIDTH * (0.5, 0.5 / MOUTH_ASPECT)
    x = np.clip(x, half_width, 1 - half_width)
    y = np.clip(y, half_height, 1 - half_height)
    return np.array([x - half_width, y - half_height, x + half_width, y + half_height], np.float32)


def to_crop(points: np.ndarray, transforms: np.ndarray) -> np.ndarray:
    """(T, L, 2) points in frame pixels -> (T, L, 2) in crop coordinates, 0 to `CROP_SIZE`."""
    inverse = np.linalg.inv(transforms[:, :, :2])
    return np.einsum("tij,tlj->tli", inverse, points - transforms[:, None, :, 2])


def crop(frames: Iterable[np.ndarray], alignment: Alignment, size: int = CROP_SIZE) -> np.ndarray:
    """Face crops.

    Args:
        frames: (T, H, W, 3) uint8 RGB, as many as the alignment has.
        alignment: where the face is.
        size: pixels a side.

    Returns:
        (T, size, size, 3) uint8, bilinear, averaged where it shrinks; beyond the frame its edge
        pixels repeat.
    """
    crops = np.empty((len(alignment), size, size, 3), np.uint8)
    transforms = _transforms_for_size(alignment, size)
    for frame, transform, target in zip(frames, transforms, crops, strict=True):
        target[:] = _crop_frame(frame, transform, size)
    return crops


def _transforms_for_size(alignment: Alignment, size: int) -> np.ndarray:
    """(T, 2, 3) float64 maps from coordinates of a crop of `size` pixels to frame pixels."""
    transforms = alignment.transforms.astype(np.float64)
    transforms[:, :, :2] *= CROP_SIZE / size
    return transforms


def _crop_frame(frame: np.ndarray, transform: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3) uint8: one crop of an (H, W, 3) frame."""
    shrinking = np.linalg.norm(transform[:, :2], axis=0).max()
    samples = max(1, int(np.ceil(shrinking - 0.25)))
    return affine_warp(frame, transform, size, size, samples)


def paste(
    frames: Iterable[np.ndarray],
    crops: np.ndarray,
    alignment: Alignment,
    feather: float = 0.10,
    keep: float = 24.0,
) -> np.ndarray:
    """Put edited crops back into the full frames, without a seam and without touching the rest.

    What is added is the DIFFERENCE between the edited crop and the crop of the frame itself at the
    same resolution, enlarged, under a mask that falls to 0 towards the crop's border: where the
    crop was not edited, every pixel of the frame stays exactly as it was, and the frame's detail
    finer than the crop survives small changes. Where a change is large that detail would be a ghost
    of the old picture, so it fades: to 1/e at `keep` grey levels.

    Args:
        frames: (T, H, W, 3) uint8 RGB.
        crops: (T, K, K, 3) uint8, any K.
        alignment: where the face is.
        feather: width of the soft border, as a fraction of the crop.
        keep: grey levels.

    Returns:
        (T, H, W, 3) uint8, new arrays.
    """
    size = crops.shape[1]
    transforms = _transforms_for_size(alignment, size)
    pasted = []
    for frame, edited, transform in zip(frames, crops, transforms, strict=True):
        new_frame = _paste_frame(frame, edited, transform, feather, keep)
        pasted.append(new_frame)
    return np.stack(pasted)


def _paste_frame(
    frame: np.ndarray, edited: np.ndarray, transform: np.ndarray, feather: float, keep: float
) -> np.ndarray:
    """Put one crop back.

    Args:
        frame: (H, W, 3) uint8.
        edited: (K, K, 3) uint8.
        transform: (2, 3) crop coordinates in [0, K] -> frame pixels.
        feather: see `paste`.
        keep: see `paste`.

    Returns:
        (H, W, 3) uint8, a new array.
    """
    size = len(edited)
    original = _crop_frame(frame, transform, size)
    pasted = np.array(frame)

    # The part of the frame that holds the crop: low and high corner, x and y.
    corners = np.array([[0, size, 0, size], [0, 0, size, size]])
    corners_in_frame = transform[:, :2] @ corners + transform[:, 2:]
    frame_size = pasted.shape[1::-1]
    low = np.clip(np.floor(corners_in_frame.min(axis=1)), 0, frame_size).astype(int)
    high = np.clip(np.ceil(corners_in_frame.max(axis=1)), 0, frame_size).astype(int)
    part = pasted[low[1] : high[1], low[0] : high[0]]

    inverse = np.linalg.inv(np.vstack([transform, [0, 0, 1]]))[:2]
    inverse[:, 2] += inverse[:, :2] @ low
    add_difference(part, np.ascontiguousarray(edited), original, inverse, feather, keep)
    return pasted


def alignment_error(
    alignment: Alignment, landmarks: np.ndarray, names: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """How far true landmarks are, in the crops, from where a perfect alignment would have them.

    The perfect one fits each frame's true eye corners and nose bridge, by least squares, to their
    mean place in this alignment's crops; so a constant offset of the clip, which costs nothing, is
    not counted in `eyes` and `mouth` but stands in `offset`.

    Args:
        alignment: of the clip.
        landmarks: (T, L, 2) true positions in frame pixels.
        names: of the L landmarks, as the studio calls them.

    Returns:
        Each as a fraction of the distance between the eye centres: `eyes` (T,) mean error of the
        two eye centres, `mouth` (T,) error of the middle of the mouth corners, `offset` () distance
        of the clip's mean eye middle from its nominal place. About .01 to .02 on studio clips; 0
        for the true alignment.
    """
    in_crop = to_crop(landmarks, alignment.transforms.astype(np.float64))
    right_eye = [names.index("right_eye_outer"), names.index("right_eye_inner")]
    left_eye = [names.index("left_eye_outer"), names.index("left_eye_inner")]
    rigid = in_crop[:, [*right_eye, *left_eye, names.index("nose_bridge")]]
    mouth_corners = in_crop[:, [names.index("mouth_right"), names.index("mouth_left")]]

    # (T, 3, 2): the centres of both eyes and of the mouth.
    right_centre = rigid[:, :2].mean(axis=1)
    left_centre = rigid[:, 2:4].mean(axis=1)
    points = np.stack([right_centre, left_centre, mouth_corners.mean(axis=1)], axis=1)
    eye_distance = np.linalg.norm(points[:, 1] - points[:, 0], axis=1).mean()

    perfect = _fit_to_mean(rigid, points)
    errors = np.linalg.norm(points - perfect, axis=2) / eye_distance
    eye_middle = points[:, :2].mean(axis=(0, 1)) / CROP_SIZE
    offset = eye_middle - [0.5, EYES_BELOW_TOP / SIDE]
    offset_length = np.linalg.norm(offset) * CROP_SIZE / eye_distance
    return {"eyes": errors[:, :2].mean(axis=1), "mouth": errors[:, 2], "offset": offset_length}


def _fit_to_mean(rigid: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Move each frame's points by the similarity that fits its rigid points to their mean.

    Args:
        rigid: (T, R, 2).
        points: (T, P, 2).

    Returns:
        (T, P, 2).
    """
    target = rigid.mean(axis=0)
    target_centre = target.mean(axis=0)
    as_complex = [1, 1j]
    target_shape = (target - target_centre) @ as_complex
    fitted = np.empty_like(points)
    for frame, rigid_points in enumerate(rigid):
        centre = rigid_points.mean(axis=0)

        shape = (rigid_points - centre) @ as_complex

        # Rotation and scale as one complex number.
        turn = np.vdot(shape, target_shape) / np.vdot(shape, shape)
        moved = turn * ((points[frame] - centre) @ as_complex)
        fitted[frame] = np.stack([moved.real, moved.imag], axis=1) + target_centre
    return fitted
