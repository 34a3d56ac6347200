"""Face crops from pixels, for every clip of every corpus, and edited crops back into the full frames.

A crop is a similarity (shift, roll, scale) that puts the rigid part of the face, eye corners and nose bridge, always
at the same place: brows and some forehead at the top, the chin of an open jaw at the bottom. Mouth, brows and cheeks
have no say in it, so they move IN the crop and do not move the crop. The release's crop, for comparison, is another
map from crop to frame (`cdrl.media.released_crop`); looking, refusing, cropping and putting back are the same.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from cdrl.core.errors import InputError
from cdrl.media.image_warp import add_difference, affine_warp
from cdrl.media.mesh import LIPS, detect_faces, mesh_points, region_of_box
from cdrl.media.released_crop import OUTLINE, box_transforms, landmark_box

# Alignments are stated for a crop of this many pixels a side; `crop` renders any size from them.
CROP_SIZE = 96
CROP_KINDS = ("aligned", "released")
# Rigid mesh points (eye corners, nose bridge) and where they are in a frontal face: x right, y down, z away from the
# camera, unit = distance of the outer eye corners, origin between the eyes. Mean of the mesh over the sample clips,
# made symmetric; over those clips each point stays within .003 to .007 of it (standard deviation).
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
# In the same unit: side of the crop, height of the eyes below its upper edge, depth of the point it is centred on.
SIDE, EYES_BELOW_TOP, DEPTH = 2.05, 0.52, -0.10
# Middle and side of the square that the mesh sees from the second look on: least alignment error on the studio.
REGION_BELOW_EYES, REGION_SIDE = 0.40, 2.4
MOUTH_WIDTH, MOUTH_ASPECT = 0.47, 1.5
MINIMUM_FACE = (
    24  # pixels, ear to ear; on studio frames alignment at 26 px is nearly as good as at 60
)
BREADTH = 1.5  # ear to ear, in distances of the outer eye corners
MAXIMUM_GAP = 12  # frames a lost face is bridged
SECOND_FACE = 0.4  # a second face counts from this share of the first one's width
CHECK_EVERY = 25  # frames between looks for a second face
MAXIMUM_TURN = np.radians(55)
# Temporal smoothing: standard deviations in frames of shift, roll and scale.
SMOOTHING = {"shift": 1.0, "roll": 3.0, "scale": 6.0}


@dataclass(frozen=True)
class Alignment:
    """Where the face is in each frame.

    Attributes:
        transforms: (T, 2, 3) float32, crop coordinates in [0, CROP_SIZE] -> frame pixels (continuous: the centre of the
            first pixel is at .5, .5); a similarity, or of the released crop a scale for each axis.
        mouth_box: (4,) float32 left, top, right, bottom in the crop, 0 to 1; one box for the clip.
    """

    transforms: np.ndarray
    mouth_box: np.ndarray

    def __len__(self) -> int:
        return len(self.transforms)

    def part(self, start: int, stop: int) -> "Alignment":
        """The alignment of frames start..stop, for work in chunks."""
        return Alignment(self.transforms[start:stop], self.mouth_box)


def find_face(
    index: int, frame: np.ndarray, small: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The embedded detector in the form that `align` calls; `cdrl.media.detectors` has others.

    Args:
        index: number of the frame. frame: (H, W, 3) uint8 RGB. small: whether to look for small faces, which is slow.

    Returns:
        As `mesh.detect`: boxes (F, 4), scores (F,), eyes (F, 2, 2).
    """
    return detect_faces(frame, small=small)


def align(
    frames: Iterable[np.ndarray],
    stride: int = 4,
    name: str = "clip",
    find: Callable = find_face,
    crop: str = "aligned",
) -> Alignment:
    """Find and follow the one face of a clip.

    Args:
        frames: (T, H, W, 3) uint8 RGB, or any iterable of such images (read once, none is kept).
        stride: every stride-th frame is looked at; the frames between are interpolated.
        name: what errors call the clip: its file.
        find: the detector, called as `find_face` is: now and then, to look for a second face, and where none is followed.
        crop: `aligned`, steadied over time; or `released`, the release's box, which looks at every frame and steadies nothing.

    Raises:
        InputError: no face, two faces, a face that is too small, turned away, lost for long, or a cut; another crop.
    """
    if crop not in CROP_KINDS:
        raise InputError(f"crop={crop}: accepted are {', '.join(CROP_KINDS)}")
    stride = stride if crop == "aligned" else 1
    tracker, count, last = _Tracker(name, find), 0, None
    for index, frame in enumerate(frames):
        if index % stride == 0:
            tracker.look(index, frame)
        last, count = frame, index + 1
    if count and (count - 1) % stride:
        tracker.look(count - 1, last)
    return tracker.finish(count, crop)


class _Tracker:
    """Looks at key frames one by one and keeps the face's place, its lips and the box of its landmarks."""

    def __init__(self, name: str, find: Callable):
        self.name, self.find, self.region, self.checked, self.tries, self.turned = (
            name,
            find,
            None,
            None,
            0,
            0,
        )
        self.indices, self.places, self.lips, self.boxes = [], [], [], []

    def look(self, index: int, frame: np.ndarray) -> None:
        if self.region is None or index - self.checked >= CHECK_EVERY:
            self._search(index, frame)
        points, score = mesh_points(frame, self.region) if self.region is not None else (None, 0.0)
        if (
            points is not None and self.checked == index
        ):  # a detector's box is rough: look again where the mesh is
            points, score = mesh_points(frame, _region(_place(points)[0]))
        place, turn = _place(points) if score > 0.5 else (None, 0.0)
        self.indices.append(index)
        if place is None or turn > MAXIMUM_TURN:
            self.region, self.turned = None, self.turned + (place is not None)
            self.places.append(np.full(4, np.nan))
            return
        self.region = _region(place)
        self.places.append(place)
        self.lips.append(points[LIPS, :2])
        self.boxes.append(landmark_box(points[OUTLINE, :2]))

    def _search(self, index: int, frame: np.ndarray) -> None:
        """Detect; refuse two faces. Parts of the frame are searched only for the first few misses: it is slow."""
        small = not self.places or (np.isnan(self.places[-1][0]) and self.tries < 3)
        boxes, _, eyes = self.find(index, frame, small)
        self.checked, self.tries = index, self.tries + 1
        if len(boxes) == 0:
            return
        widths = boxes[:, 2] - boxes[:, 0]
        best = int(np.argmax(widths))
        if (widths > SECOND_FACE * widths[best]).sum() > 1:
            raise InputError(
                f"{self.name}: more than one face (frame {index}); give a video that shows one person"
            )
        if self.region is None:
            self.region = region_of_box(boxes[best], eyes[best])

    def finish(self, count: int, crop: str) -> Alignment:
        indices = np.array(self.indices)
        places = np.array(self.places).reshape(-1, 4)
        seen = np.isfinite(places[:, 0])
        if not seen.any() and self.turned:
            raise InputError(
                f"{self.name}: the face is turned away from the camera; a frontal or three-quarter view is needed"
            )
        if not seen.any():
            raise InputError(
                f"{self.name}: no face found (frames 0 to {count - 1}); a frontal face of at least {MINIMUM_FACE} px "
                "is needed"
            )
        self._refuse(indices[seen], places[seen], count)
        if crop == "released":
            boxes = np.stack(
                [
                    np.interp(np.arange(count), indices[seen], side)
                    for side in np.array(self.boxes).T
                ],
                axis=1,
            )
            looked, transforms = (
                box_transforms(np.array(self.boxes), CROP_SIZE),
                box_transforms(boxes, CROP_SIZE),
            )
        else:
            looked, transforms = (
                _transforms(places[seen]),
                _transforms(_interpolate(indices[seen], places[seen], count)),
            )
        return Alignment(
            transforms.astype(np.float32), _mouth_box(np.array(self.lips), looked, places[seen])
        )

    def _refuse(self, indices: np.ndarray, places: np.ndarray, count: int) -> None:
        breadth = BREADTH * float(np.median(np.exp(places[:, 3])))
        if breadth < MINIMUM_FACE:
            raise InputError(
                f"{self.name}: the face is {breadth:.0f} px wide; at least {MINIMUM_FACE} px are needed"
            )
        borders = np.concatenate([[-1], indices, [count]])
        gap = int(np.argmax(np.diff(borders)))
        if np.diff(borders)[gap] - 1 > max(
            MAXIMUM_GAP, int(np.diff(self.indices[:2] or [0])[:1].sum())
        ):
            raise InputError(
                f"{self.name}: face lost from frame {borders[gap] + 1} to {borders[gap + 1] - 1}; "
                f"it must be seen, turned to the camera, at least every {MAXIMUM_GAP} frames: cut that part out"
            )
        jumps = np.hypot(*np.diff(places[:, :2], axis=0).T) / (SIDE * np.exp(places[:-1, 3]))
        if len(jumps) and jumps.max() > 0.75:
            frame = indices[int(np.argmax(jumps)) + 1]
            raise InputError(
                f"{self.name}: the face jumps before frame {frame}, as at a cut; give one unbroken shot"
            )


def _place(points: np.ndarray) -> tuple[np.ndarray, float]:
    """Pose of the rigid points against the template, by least squares in 3-D, so that a turn is no change of size.

    Returns:
        (4,) x, y of the crop's centre in the frame, roll (radians), log of the outer eye distance (pixels); and the
        angle (radians) between the face and the camera.
    """
    found, wanted = points[list(RIGID)], TEMPLATE
    shift, origin = found.mean(axis=0), wanted.mean(axis=0)
    left, strengths, right = np.linalg.svd((found - shift).T @ (wanted - origin))
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left @ right))])
    turn = left @ np.diag(signs) @ right
    scale = float((strengths * signs).sum() / ((wanted - origin) ** 2).sum())
    centre = scale * turn @ (np.array([0, SIDE / 2 - EYES_BELOW_TOP, DEPTH]) - origin) + shift
    roll = np.arctan2(turn[1, 0], turn[0, 0])
    return np.array([centre[0], centre[1], roll, np.log(scale)]), float(
        np.arccos(np.clip(turn[2, 2], -1, 1))
    )


def _region(place: np.ndarray) -> tuple[np.ndarray, float, float]:
    """Where the mesh looks next: a square that hangs on the rigid points alone, so that the jaw does not move it."""
    x, y, roll, size = place
    below = (REGION_BELOW_EYES - (SIDE / 2 - EYES_BELOW_TOP)) * np.exp(size)
    return (
        np.array([x - below * np.sin(roll), y + below * np.cos(roll)]),
        REGION_SIDE * float(np.exp(size)),
        roll,
    )


def _interpolate(indices: np.ndarray, places: np.ndarray, count: int) -> np.ndarray:
    """(count, 4): linear between key frames, then smoothed; the ends continue with the nearest value."""
    places = places.copy()
    places[:, 2] = np.unwrap(places[:, 2])
    path = np.stack([np.interp(np.arange(count), indices, column) for column in places.T], axis=1)
    widths = (SMOOTHING["shift"], SMOOTHING["shift"], SMOOTHING["roll"], SMOOTHING["scale"])
    return np.stack([_smooth(path[:, k], width) for k, width in enumerate(widths)], axis=1)


def _smooth(values: np.ndarray, width: float) -> np.ndarray:
    """Gaussian mean; the ends are extended point-symmetrically, so that a steady motion stays as it is."""
    reach = min(int(3 * width + 0.5), len(values) - 1)
    if reach < 1:
        return values
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / width) ** 2)
    return np.convolve(
        np.pad(values, reach, "reflect", reflect_type="odd"), kernel / kernel.sum(), mode="valid"
    )


def _transforms(path: np.ndarray) -> np.ndarray:
    """(T, 4) places -> (T, 2, 3) maps from crop coordinates to frame pixels."""
    scale = SIDE * np.exp(path[:, 3]) / CROP_SIZE
    cos, sin = scale * np.cos(path[:, 2]), scale * np.sin(path[:, 2])
    linear = np.stack([np.stack([cos, -sin], axis=1), np.stack([sin, cos], axis=1)], axis=1)
    shift = path[:, :2] - linear @ np.full(2, CROP_SIZE / 2)
    return np.concatenate([linear, shift[:, :, None]], axis=2)


def _mouth_box(lips: np.ndarray, transforms: np.ndarray, places: np.ndarray) -> np.ndarray:
    """(K, L, 2) lip points in the frame -> (4,) box about their median middle in the crop, kept inside the crop.

    It spans the same part of the face in every crop: `MOUTH_WIDTH` of the aligned one's side, whatever the lips do.
    """
    inside = np.linalg.inv(transforms[:, :, :2])
    relative = np.einsum("kij,klj->kli", inside, lips - transforms[:, None, :, 2]) / CROP_SIZE
    x, y = np.median((relative.min(axis=1) + relative.max(axis=1)) / 2, axis=0)
    side = (
        SIDE * np.exp(places[:, 3:]) / (np.linalg.norm(transforms[:, :, :2], axis=1) * CROP_SIZE)
    )  # of an aligned crop, in this one's
    half_width, half_height = np.median(side, axis=0) * MOUTH_WIDTH * (0.5, 0.5 / MOUTH_ASPECT)
    x, y = np.clip(x, half_width, 1 - half_width), np.clip(y, half_height, 1 - half_height)
    return np.array([x - half_width, y - half_height, x + half_width, y + half_height], np.float32)


def crop(frames: Iterable[np.ndarray], alignment: Alignment, size: int = CROP_SIZE) -> np.ndarray:
    """Face crops.

    Args:
        frames: (T, H, W, 3) uint8 RGB, as many as the alignment has. size: pixels a side.

    Returns:
        (T, size, size, 3) uint8, bilinear, averaged where it shrinks; beyond the frame its edge pixels repeat.
    """
    out = np.empty((len(alignment), size, size, 3), np.uint8)
    for frame, transform, target in zip(frames, _for_size(alignment, size), out, strict=True):
        target[:] = affine_warp(frame, transform, size, size, _samples(transform))
    return out


def _for_size(alignment: Alignment, size: int) -> np.ndarray:
    """(T, 2, 3) float64 maps from coordinates of a crop of `size` pixels."""
    scaled = alignment.transforms.astype(np.float64)
    scaled[:, :, :2] *= CROP_SIZE / size
    return scaled


def _samples(transform: np.ndarray) -> int:
    return max(1, int(np.ceil(np.linalg.norm(transform[:, :2], axis=0).max() - 0.25)))


def paste(
    frames: Iterable[np.ndarray],
    crops: np.ndarray,
    alignment: Alignment,
    feather: float = 0.10,
    keep: float = 24.0,
) -> np.ndarray:
    """Edited crops back in the full frames, without a seam and without touching the rest.

    What is added is the DIFFERENCE between the edited crop and the crop of the frame itself at the same resolution,
    enlarged, under a mask that falls to 0 towards the crop's border: where the crop was not edited, every pixel of
    the frame stays exactly as it was, and the frame's detail finer than the crop survives small changes. Where a
    change is large that detail would be a ghost of the old picture, so it fades: to 1/e at `keep` grey levels.

    Args:
        frames: (T, H, W, 3) uint8 RGB. crops: (T, K, K, 3) uint8, any K. feather: width of the soft border, as a
            fraction of the crop. keep: grey levels.

    Returns:
        (T, H, W, 3) uint8, new arrays.
    """
    size, out = crops.shape[1], []
    for frame, edited, transform in zip(frames, crops, _for_size(alignment, size), strict=True):
        original = affine_warp(frame, transform, size, size, _samples(transform))
        target = np.array(frame)
        corners = (
            transform[:, :2] @ np.array([[0, size, 0, size], [0, 0, size, size]]) + transform[:, 2:]
        )
        low = np.clip(np.floor(corners.min(axis=1)), 0, target.shape[1::-1]).astype(int)
        high = np.clip(np.ceil(corners.max(axis=1)), 0, target.shape[1::-1]).astype(int)
        inverse = np.linalg.inv(np.vstack([transform, [0, 0, 1]]))[:2]
        inverse[:, 2] += inverse[:, :2] @ low
        part = target[low[1] : high[1], low[0] : high[0]]
        add_difference(part, np.ascontiguousarray(edited), original, inverse, feather, keep)
        out.append(target)
    return np.stack(out)


def alignment_error(
    alignment: Alignment, landmarks: np.ndarray, names: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """How far true landmarks are, in the crops, from where a perfect alignment of the same clip would have them.

    The perfect one fits each frame's true eye corners and nose bridge, by least squares, to their mean place in this
    alignment's crops; so a constant offset of the clip, which costs nothing, is not counted in `eyes` and `mouth` but
    stands in `offset`.

    Args:
        landmarks: (T, L, 2) true positions in frame pixels. names: of the L landmarks, as the studio calls them.

    Returns:
        Each as a fraction of the distance between the eye centres: `eyes` (T,) mean error of the two eye centres,
        `mouth` (T,) error of the middle of the mouth corners, `offset` () distance of the clip's mean eye middle from
        its nominal place. About .01 to .02 on studio clips; 0 for the true alignment.
    """
    matrices = alignment.transforms.astype(np.float64)
    placed = np.einsum(
        "tij,tlj->tli", np.linalg.inv(matrices[:, :, :2]), landmarks - matrices[:, None, :, 2]
    )
    rigid = placed[
        :,
        [
            names.index(f"{side}_eye_{end}")
            for side in ("right", "left")
            for end in ("outer", "inner")
        ],
    ]
    rigid = np.concatenate([rigid, placed[:, [names.index("nose_bridge")]]], axis=1)
    corners = placed[:, [names.index("mouth_right"), names.index("mouth_left")]]
    points = np.stack(
        [rigid[:, :2].mean(axis=1), rigid[:, 2:4].mean(axis=1), corners.mean(axis=1)], axis=1
    )
    between = np.linalg.norm(points[:, 1] - points[:, 0], axis=1).mean()
    perfect = np.empty_like(points)
    wanted = rigid.mean(axis=0)
    for frame, (found, moved) in enumerate(zip(rigid, points, strict=True)):
        a, b = (found - found.mean(axis=0)) @ [1, 1j], (wanted - wanted.mean(axis=0)) @ [1, 1j]
        turn = np.vdot(a, b) / np.vdot(a, a)  # rotation and scale as one complex number
        result = turn * ((moved - found.mean(axis=0)) @ [1, 1j])
        perfect[frame] = np.stack([result.real, result.imag], axis=1) + wanted.mean(axis=0)
    errors = np.linalg.norm(points - perfect, axis=2) / between
    middle = points[:, :2].mean(axis=(0, 1)) / CROP_SIZE - [0.5, EYES_BELOW_TOP / SIDE]
    offset = np.linalg.norm(middle) * CROP_SIZE / between
    return {"eyes": errors[:, :2].mean(axis=1), "mouth": errors[:, 2], "offset": offset}
