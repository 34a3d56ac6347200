"""The face that is edited, through all shots of a video: where it is, and where it must stay.

`cdrl.media.faces.align` refuses a clip that is not one unbroken view of one face, as a corpus
needs. Here such a clip is divided: into shots at its cuts, and into stretches whose face can be
edited or whose frames stay as they are, each with the reason.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from cdrl.core.errors import InputError
from cdrl.media.cuts import mark_cuts
from cdrl.media.faces import (
    BREADTH,
    CHECK_EVERY,
    CROP_KINDS,
    LARGEST_JUMP,
    MAXIMUM_TURN,
    MINIMUM_FACE,
    SECOND_FACE,
    SIDE,
    Alignment,
    build_alignment,
    pose_and_turn,
    region_of_pose,
)
from cdrl.media.mesh import LIPS, Region, detect_faces, mesh_points, region_of_box
from cdrl.media.mouth_cover import MouthLook, covered_looks, look_at_mouth
from cdrl.media.released_crop import OUTLINE, landmark_box

STRIDE = 4  # every so many frames are looked at, and all of them where a face comes or goes
LEAST_SCORE = 0.5  # of the mesh, from which on there is a face
BRIDGED = 3  # frames without a face that count as frames with one: a blur
SHORTEST = 3  # frames of a stretch that is edited, between stretches that are not
SAME_FACE = 0.5  # two finds nearer than this, in crop sides, are one face
NEAR = 1.0  # crop sides from where a face was lost to where it is found again

NO_FACE = "no face"
TURNED = "turned away"
JUMP = "the face jumps"
TOO_SMALL = "the face is too small"
TOO_BRIEF = "seen too briefly"
OTHER_FACES = "not the face that was chosen"
COVERED = "the mouth is covered"


@dataclass(frozen=True)
class FaceChoice:
    """Which of several faces is meant; without a number and a box the widest one.

    Attributes:
        number: from 1, left to right.
        box: left, top, width, height in pixels of the upright picture: the face in it.
    """

    number: int | None = None
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class Shot:
    """Frames between two cuts, and the faces in them.

    Attributes:
        start: its first frame.
        stop: the frame after its last.
        boxes: (F, 4) left, top, right, bottom of the faces where they were first seen, pixels, from
            left to right.
        chosen: number of the face that is followed, from 0; None where none is.
    """

    start: int
    stop: int
    boxes: np.ndarray
    chosen: int | None


@dataclass(frozen=True)
class Stretch:
    """Frames that are all edited, or all stay.

    Attributes:
        start: its first frame.
        stop: the frame after its last.
        alignment: where the face is; None where the frames stay.
        reason: why they stay.
        after_cut: whether it begins with its shot.
        before_cut: whether it ends with its shot.
    """

    start: int
    stop: int
    alignment: Alignment | None
    reason: str = ""
    after_cut: bool = False
    before_cut: bool = False

    def __len__(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class FaceTrack:
    """The face of a video.

    Attributes:
        shots: in order; together they cover all frames.
        stretches: in order; together they cover all frames.
    """

    shots: list[Shot]
    stretches: list[Stretch]

    def __len__(self) -> int:
        return self.shots[-1].stop

    @property
    def kept(self) -> list[Stretch]:
        """The stretches whose frames stay as they are."""
        return [stretch for stretch in self.stretches if stretch.alignment is None]

    def strength(self, fade: int) -> np.ndarray:
        """How much of the edit each frame shows.

        Args:
            fade: frames over which it grows from 0 to 1 beside frames that stay. Beside a cut it
                does not fade: there the whole picture changes.

        Returns:
            (T,) float32, 0 to 1; 0 for the frames that stay.
        """
        strength = np.zeros(len(self), np.float32)
        for stretch in self.stretches:
            if stretch.alignment is None:
                continue
            rising = np.arange(1, len(stretch) + 1) / (fade + 1)
            share = np.ones(len(stretch))
            if not stretch.after_cut:
                share = np.minimum(share, rising)
            if not stretch.before_cut:
                share = np.minimum(share, rising[::-1])
            # Begins and ends softly.
            strength[stretch.start : stretch.stop] = share * share * (3 - 2 * share)
        return strength


def follow_face(
    frames: Iterable[np.ndarray],
    choice: FaceChoice | None = None,
    name: str = "clip",
    crop: str = "aligned",
) -> FaceTrack:
    """Follow a face through a video.

    Args:
        frames: (H, W, 3) uint8 RGB each; some four are in memory at once.
        choice: which of several faces; None: the widest of each shot.
        name: what errors call the video: its file.
        crop: `aligned` or `released`, as of `faces.align`.

    Raises:
        InputError: where no frame can be edited; another crop.
    """
    if crop not in CROP_KINDS:
        raise InputError(f"crop={crop}: accepted are {', '.join(CROP_KINDS)}")
    choice = choice or FaceChoice()

    followers: list[_ShotFollower] = []
    index = 0
    for frame, is_cut in mark_cuts(frames):
        if is_cut or not followers:
            if followers:
                followers[-1].close()
            followers.append(_ShotFollower(index, choice, crop))
        followers[-1].add(index, frame)
        index += 1
    if not followers:
        raise InputError(f"{name}: not one frame; give a video that shows a face")
    followers[-1].close()

    shots: list[Shot] = []
    stretches: list[Stretch] = []
    stops = [follower.start for follower in followers[1:]] + [index]
    for follower, stop in zip(followers, stops, strict=True):
        shots.append(follower.shot(stop))
        stretches += follower.stretches(stop)
    track = FaceTrack(shots, stretches)
    if len(track.kept) == len(stretches):
        raise _nothing_to_edit(track, choice, name)
    return track


def _nothing_to_edit(track: FaceTrack, choice: FaceChoice, name: str) -> InputError:
    """The error for a video in which no frame can be edited: its most frequent reason."""
    frames_of: dict[str, int] = {}
    for stretch in track.kept:
        frames_of[stretch.reason] = frames_of.get(stretch.reason, 0) + len(stretch)
    reasons = sorted(frames_of, key=lambda reason: -frames_of[reason])
    # That no face is there says nothing where another reason is known too.
    reason = next((reason for reason in reasons if reason != NO_FACE), NO_FACE)

    if reason == OTHER_FACES:
        shot = max(track.shots, key=_num_faces)
        return InputError(
            f"{name}: --face {describe_choice(choice)} is not there; it shows "
            f"{describe_faces(shot.boxes)}: give the number of one of them, or a box around one"
        )
    if reason == TURNED:
        return InputError(
            f"{name}: the face is turned away from the camera; a frontal or three-quarter view is "
            "needed"
        )
    if reason == TOO_SMALL:
        shot = max(track.shots, key=_num_faces)
        widest = float((shot.boxes[:, 2] - shot.boxes[:, 0]).max())
        return InputError(
            f"{name}: the face is {widest:.0f} px wide; at least {MINIMUM_FACE} px are needed"
        )
    if reason == NO_FACE:
        return InputError(
            f"{name}: no face found (frames 0 to {len(track) - 1}); a frontal face of at least "
            f"{MINIMUM_FACE} px is needed"
        )
    return InputError(
        f"{name}: no frame can be edited ({reason}); a face that is seen for {SHORTEST} frames and "
        "more is needed"
    )


def _num_faces(shot: Shot) -> int:
    return len(shot.boxes)


def describe_choice(choice: FaceChoice) -> str:
    """A choice as it is typed: its number, or its box.

    Args:
        choice: which face.
    """
    if choice.box is None:
        return str(choice.number)
    return ",".join(f"{side:g}" for side in choice.box)


def describe_faces(boxes: np.ndarray) -> str:
    """How many faces there are, and where.

    Args:
        boxes: (F, 4) left, top, right, bottom, pixels.

    Returns:
        As in "2 faces (1: 40,60,90,110 2: 300,70,88,104)": left, top, width, height.
    """
    if len(boxes) == 0:
        return "no face"
    places = []
    for number, (left, top, right, bottom) in enumerate(boxes, 1):
        places.append(f"{number}: {left:.0f},{top:.0f},{right - left:.0f},{bottom - top:.0f}")
    noun = "face" if len(boxes) == 1 else "faces"
    return f"{len(boxes)} {noun} ({' '.join(places)})"


class _Look(NamedTuple):
    """What one frame shows of the face.

    Attributes:
        frame_index: of the frame.
        pose: (4,) as `faces.pose_and_turn` returns it; None where the face is not seen.
        lips: (L, 2) points, frame pixels.
        box: (4,) of the landmarks, frame pixels.
        mouth: colours and gap of the lips.
        reason: why the face is not seen.
    """

    frame_index: int
    pose: np.ndarray | None
    lips: np.ndarray | None = None
    box: np.ndarray | None = None
    mouth: MouthLook | None = None
    reason: str = ""

    @property
    def centre(self) -> np.ndarray:
        """(2,) the middle of the face, frame pixels."""
        assert self.pose is not None, "of a face that is seen"
        return self.pose[:2]

    @property
    def crop_side(self) -> float:
        """Side of the aligned crop, frame pixels."""
        assert self.pose is not None, "of a face that is seen"
        return SIDE * float(np.exp(self.pose[3]))


class _Face(NamedTuple):
    """A face that the detector found and the mesh confirmed.

    Attributes:
        pose: (4,) as `faces.pose_and_turn` returns it.
        box: (4,) left, top, right, bottom, pixels.
    """

    pose: np.ndarray
    box: np.ndarray

    @property
    def crop_side(self) -> float:
        """Side of the aligned crop, frame pixels."""
        return SIDE * float(np.exp(self.pose[3]))

    @property
    def width(self) -> float:
        """Of the box, pixels."""
        return float(self.box[2] - self.box[0])


class _ShotFollower:
    """Follows one face through one shot.

    Args:
        start: its first frame.
        choice: which of several faces.
        crop: `aligned` or `released`, which looks at every frame.
    """

    def __init__(self, start: int, choice: FaceChoice, crop: str) -> None:
        self.start = start
        self.choice = choice
        self.crop = crop
        self.stride = STRIDE if crop == "aligned" else 1

        self.boxes = np.zeros((0, 4))  # of all faces, from left to right
        self.chosen: int | None = None
        self.region: Region | None = None  # where the face is expected; None while it is lost
        self.last_seen: _Look | None = None
        self.searched_at = start - CHECK_EVERY  # frame of the last search for small faces
        self.listed_at = start - CHECK_EVERY  # frame of the last search for all faces

        self.looks: list[_Look] = []
        self.recent: list[tuple[int, np.ndarray]] = []  # frames since the last look

    def add(self, index: int, frame: np.ndarray) -> None:
        """Take frame number `index`, (H, W, 3) uint8."""
        if (index - self.start) % self.stride:
            self.recent.append((index, frame))
        else:
            self._look_at(index, frame)

    def close(self) -> None:
        """Look at the last frame too, and find out where the mouth is covered."""
        if self.recent:
            index, frame = self.recent.pop()
            self._look_at(index, frame)
        self.looks = _without_covered(self.looks)

    def _look_at(self, index: int, frame: np.ndarray) -> None:
        """Look for the face; where it came or went since the last look, find out when."""
        previous = self.looks[-1] if self.looks else None
        look = self._find(index, frame)
        between = self.recent
        self.recent = []

        if previous is not None and previous.pose is not None and look.pose is None:
            self.looks += _seen_from(previous, between)
        elif previous is not None and previous.pose is None and look.pose is not None:
            seen = _seen_from(look, between[::-1])
            self.looks += seen[::-1]
        self.looks.append(look)

    def _find(self, index: int, frame: np.ndarray) -> _Look:
        """The look at a frame: where the face is expected, else wherever it is."""
        look = None
        if self.region is not None:
            look = _look_in(self.region, index, frame)
        if look is None or look.pose is None:
            found = self._search(index, frame)
            look = found or look or _Look(index, None, reason=NO_FACE)

        self.region = None
        if look.pose is not None:
            self.region = region_of_pose(look.pose)
            self.last_seen = look
        return look

    def _search(self, index: int, frame: np.ndarray) -> _Look | None:
        """Find the face anywhere in a frame; None where there is none.

        Parts of the frame are searched now and then only: it is slow.
        """
        thorough = index - self.searched_at >= CHECK_EVERY
        boxes, _, eyes = detect_faces(frame, small=thorough)
        if thorough:
            self.searched_at = index
        if not len(boxes):
            return None
        if self.chosen is None:
            is_due = index - self.listed_at >= CHECK_EVERY
            if is_due:
                boxes, _, eyes = detect_faces(frame, everywhere=True)
                self.listed_at = index
            elif len(self.boxes):  # they were listed a moment ago, and it was not among them
                return _Look(index, None, reason=OTHER_FACES)

        faces = _confirmed_faces(frame, boxes, eyes)
        if not faces:
            widest = int(np.argmax(boxes[:, 2] - boxes[:, 0]))
            region = region_of_box(boxes[widest], eyes[widest])
            return _look_in(region, index, frame)

        face = self._choose(faces)
        if face is None:
            return _Look(index, None, reason=OTHER_FACES)
        return _look_in(region_of_pose(face.pose), index, frame)

    def _choose(self, faces: list[_Face]) -> _Face | None:
        """Which face is meant, of those of a frame from left to right."""
        is_first = self.chosen is None
        if is_first and len(faces) >= len(self.boxes):
            self.boxes = np.stack([face.box for face in faces])
        if not is_first and self.last_seen is not None:
            near = _nearest(faces, self.last_seen)
            if near is not None:
                return near
            if len(faces) != len(self.boxes):
                return None

        number = _chosen_number(faces, self.choice)
        if number is None:
            return None
        if is_first:
            self.chosen = number
        return faces[number]

    def shot(self, stop: int) -> Shot:
        """What was found of the faces.

        Args:
            stop: the frame after the shot's last.
        """
        return Shot(self.start, stop, self.boxes, self.chosen)

    def stretches(self, stop: int) -> list[Stretch]:
        """The stretches of the shot, in order.

        Args:
            stop: the frame after the shot's last.
        """
        stretches: list[Stretch] = []
        reached = self.start
        for looks in self._runs():
            first = looks[0].frame_index
            end = looks[-1].frame_index + 1
            after_cut = first == self.start
            before_cut = end == stop

            touches_cut = after_cut or before_cut
            reason = _reason_against(looks, touches_cut)
            if first > reached:
                stretches.append(Stretch(reached, first, None, self._reason(reached, first)))
            alignment = None if reason else _alignment_of(looks, self.crop)
            stretches.append(Stretch(first, end, alignment, reason, after_cut, before_cut))
            reached = end
        if reached < stop:
            stretches.append(Stretch(reached, stop, None, self._reason(reached, stop)))
        return stretches

    def _runs(self) -> list[list[_Look]]:
        """Looks at the face, apart where it was lost for long or jumped."""
        runs: list[list[_Look]] = []
        was_lost = True
        for look in self.looks:
            if look.pose is None:
                was_lost = True
                continue
            is_apart = True
            if runs:
                last = runs[-1][-1]
                num_lost = look.frame_index - last.frame_index - 1
                is_apart = (was_lost and num_lost > BRIDGED) or _jumps(last, look)
            if is_apart:
                runs.append([])
            runs[-1].append(look)
            was_lost = False
        return runs

    def _reason(self, start: int, stop: int) -> str:
        """Why frames `start` to `stop` have no face: the most frequent reason of their looks."""
        reasons = [look.reason for look in self.looks if start <= look.frame_index < stop]
        known = [reason for reason in reasons if reason]
        if not known:
            return JUMP
        return max(dict.fromkeys(known), key=known.count)


def _look_in(region: Region, index: int, frame: np.ndarray) -> _Look:
    """Look for the face in a region of a frame, (H, W, 3) uint8."""
    points, score = mesh_points(frame, region)
    if score <= LEAST_SCORE:
        return _Look(index, None, reason=NO_FACE)
    pose, turn = pose_and_turn(points)
    if turn > MAXIMUM_TURN:
        return _Look(index, None, reason=TURNED)
    lips = points[LIPS, :2]
    box = landmark_box(points[OUTLINE, :2])
    return _Look(index, pose, lips, box, look_at_mouth(frame, points))


def _without_covered(looks: list[_Look]) -> list[_Look]:
    """Looks at one face; those at a covered mouth count as not seen."""
    seen = [number for number, look in enumerate(looks) if look.mouth is not None]
    mouths = [look.mouth for look in looks if look.mouth is not None]
    checked = list(looks)
    for number, is_covered in zip(seen, covered_looks(mouths), strict=True):
        if is_covered:
            checked[number] = _Look(looks[number].frame_index, None, reason=COVERED)
    return checked


def _seen_from(look: _Look, frames: list[tuple[int, np.ndarray]]) -> list[_Look]:
    """Follow a face from a look through the frames beside it, as far as it is seen."""
    seen = []
    for index, frame in frames:
        assert look.pose is not None, "of a face that is seen"
        look = _look_in(region_of_pose(look.pose), index, frame)
        if look.pose is None:
            break
        seen.append(look)
    return seen


def _confirmed_faces(frame: np.ndarray, boxes: np.ndarray, eyes: np.ndarray) -> list[_Face]:
    """The faces of a frame that the mesh sees too, from left to right, each once.

    Args:
        frame: (H, W, 3) uint8.
        boxes: (F, 4) of the detector.
        eyes: (F, 2, 2) of the detector.
    """
    faces: list[_Face] = []
    for box, eye_pair in zip(boxes, eyes, strict=True):
        points, _ = mesh_points(frame, region_of_box(box, eye_pair))
        pose, _ = pose_and_turn(points)
        # A detector's box is rough: look again where the mesh is.
        points, score = mesh_points(frame, region_of_pose(pose))
        if score <= LEAST_SCORE:
            continue
        pose, _ = pose_and_turn(points)
        face = _Face(pose, box)
        if not any(_is_same(face, other) for other in faces):
            faces.append(face)

    widest = max((face.width for face in faces), default=0.0)
    large = [face for face in faces if face.width > SECOND_FACE * widest]
    return sorted(large, key=_left)


def _is_same(face: _Face, other: _Face) -> bool:
    """Whether two finds are one face."""
    distance = float(np.linalg.norm(face.pose[:2] - other.pose[:2]))
    return distance < SAME_FACE * max(face.crop_side, other.crop_side)


def _left(face: _Face) -> float:
    return float(face.pose[0])


def _chosen_number(faces: list[_Face], choice: FaceChoice) -> int | None:
    """The number of the chosen face, from 0; None where it is not there."""
    if choice.box is not None:
        return _number_in_box(faces, choice.box)
    if choice.number is not None:
        return choice.number - 1 if choice.number <= len(faces) else None
    widths = [face.width for face in faces]
    return int(np.argmax(widths))


def _number_in_box(faces: list[_Face], box: tuple[float, float, float, float]) -> int | None:
    """The number of the face whose middle lies in a box, nearest to the box's own middle."""
    left, top, width, height = box
    middle = np.array([left + width / 2, top + height / 2])
    numbers = []
    distances = []
    for number, face in enumerate(faces):
        face_middle = (face.box[:2] + face.box[2:]) / 2
        offset = np.abs(face_middle - middle)
        if (offset <= np.array([width, height]) / 2).all():
            numbers.append(number)
            distances.append(float(np.linalg.norm(offset)))
    return numbers[int(np.argmin(distances))] if numbers else None


def _nearest(faces: list[_Face], look: _Look) -> _Face | None:
    """The face that is near to where one was seen; None where none is."""
    distances = [float(np.linalg.norm(face.pose[:2] - look.centre)) for face in faces]
    number = int(np.argmin(distances))
    return faces[number] if distances[number] < NEAR * look.crop_side else None


def _jumps(look: _Look, following: _Look) -> bool:
    """Whether the face jumps between two looks, as at a cut."""
    distance = float(np.linalg.norm(following.centre - look.centre))
    return distance > LARGEST_JUMP * look.crop_side


def _reason_against(looks: list[_Look], touches_cut: bool) -> str:
    """Why a face that is seen is not edited; "" where it is."""
    sides = [look.crop_side for look in looks]
    breadth = BREADTH * float(np.median(sides)) / SIDE
    if breadth < MINIMUM_FACE:
        return TOO_SMALL
    num_frames = looks[-1].frame_index - looks[0].frame_index + 1
    if num_frames < SHORTEST and not touches_cut:
        return TOO_BRIEF
    return ""


def _alignment_of(looks: list[_Look], crop: str) -> Alignment:
    """The alignment of the frames from the first look to the last."""
    start = looks[0].frame_index
    num_frames = looks[-1].frame_index - start + 1
    indices = np.array([look.frame_index for look in looks]) - start
    poses = np.array([look.pose for look in looks])
    lips = np.array([look.lips for look in looks])
    boxes = np.array([look.box for look in looks])
    return build_alignment(indices, poses, lips, boxes, num_frames, crop)
