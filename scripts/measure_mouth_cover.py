"""Count how often `cdrl edit` sees that a mouth is covered, and how often it errs.

    python scripts/measure_mouth_cover.py data/samples FOLDER_OF_CLIPS

Every clip is looked through as it is, and with a thing pasted over the mouth that comes from below
or from the side and goes again: a hand of the person's own skin, smooth or with fingers, a darker
hand, a microphone, a cup, a mask. Prints for each thing in how many frames whose lips it covers
by nine tenths they stay as they are, and how many of the others, four frames and more away from
it, stay too.
"""

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

from cdrl.corpora.scan import VIDEO_SUFFIXES
from cdrl.media.faces import CROP_SIZE, Alignment, align
from cdrl.media.tracks import COVERED, STRIDE, follow_face
from cdrl.media.video import read_video

SIZE = 192  # pixels a side of the picture of a thing
RAMP = 5  # frames in which it comes, and goes
WELL_COVERED = 0.9  # of the lips

Thing = tuple[np.ndarray, np.ndarray]  # (SIZE, SIZE, 3) colours, (SIZE, SIZE) 0 to 1 where it is


def _grid() -> tuple[np.ndarray, np.ndarray]:
    """The x and y of the picture of a thing, (SIZE, SIZE) each, -1 to 1."""
    steps = (np.arange(SIZE) + 0.5) / SIZE * 2 - 1
    x, y = np.meshgrid(steps, steps)
    return x, y


def hand(
    skin: np.ndarray, random: np.random.Generator, edges: float = 0.35, light: float = 1.0
) -> Thing:
    """A palm and four fingers.

    Args:
        skin: (3,) colour.
        random: of shape and light.
        edges: how dark fingers are at their edges.
        light: factor of the skin's.
    """
    x, y = _grid()
    palm = (x / 0.85) ** 2 + (y / 0.8) ** 2
    inside = palm < 1
    shade = -0.12 * palm.clip(0, 1)
    for finger_y in np.linspace(-0.75, 0.6, 4) + random.normal(0, 0.03, 4):
        tip = random.uniform(-1.0, -0.85)
        along = (x / tip).clip(0, 1)
        distance = np.hypot(x - along * tip, y - finger_y) / 0.2
        inside |= distance < 1
        shade -= np.where(distance < 1, edges * distance**4, 0)

    unevenness = gaussian_filter(random.normal(0, 1, (SIZE, SIZE)), 20)
    unevenness *= 0.06 / unevenness.std()
    brightness = light * random.uniform(0.85, 1.12) * (1 + shade + unevenness)
    return skin * brightness[..., None], inside.astype(float)


def smooth_hand(skin: np.ndarray, random: np.random.Generator) -> Thing:
    """A hand whose fingers hardly show."""
    return hand(skin, random, edges=0.1)


def dark_hand(skin: np.ndarray, random: np.random.Generator) -> Thing:
    """Somebody else's hand, or one in the shade."""
    return hand(skin, random, light=random.uniform(0.4, 0.8))


def microphone(skin: np.ndarray, random: np.random.Generator) -> Thing:
    """A dark ball on a stick."""
    x, y = _grid()
    inside = (np.hypot(x, y + 0.1) < 0.85) | ((np.abs(x) < 0.3) & (y > 0))
    gleam = (1 - np.hypot(x + 0.3, y + 0.4) / 0.6).clip(0, 1)
    grey = random.uniform(15, 60) * (1 + 0.5 * gleam) + 8 * np.sin(60 * x) * np.sin(60 * y)
    return np.repeat(grey[..., None], 3, axis=2), inside.astype(float)


def cup(skin: np.ndarray, random: np.random.Generator) -> Thing:
    """A cylinder of any colour."""
    x, y = _grid()
    inside = (np.abs(x) < 0.8) & (np.abs(y) < 0.95)
    colour = random.uniform(30, 240, 3)
    return colour * (1 - 0.4 * x[..., None] ** 2), inside.astype(float)


def mask(skin: np.ndarray, random: np.random.Generator) -> Thing:
    """Pale blue cloth with folds."""
    x, y = _grid()
    inside = x**4 + y**4 < 0.9
    colour = random.uniform((150, 190, 210), (200, 220, 240))
    return colour * (1 + 0.08 * np.sin(20 * y[..., None])), inside.astype(float)


THINGS: dict[str, Callable[[np.ndarray, np.random.Generator], Thing]] = {
    "hand": hand,
    "smooth hand": smooth_hand,
    "dark hand": dark_hand,
    "microphone": microphone,
    "cup": cup,
    "mask": mask,
}


class Pasting:
    """How a thing comes over the mouth of a clip, stays for a third of it, and goes.

    Args:
        alignment: of the clip.
        random: of size, turn and direction.
    """

    def __init__(self, alignment: Alignment, random: np.random.Generator) -> None:
        left, top, right, bottom = alignment.mouth_box * CROP_SIZE
        self.transforms = alignment.transforms
        self.mouth = np.array([(left + right) / 2, (top + bottom) / 2])
        self.half_lips = np.array([0.34, 0.2]) * (right - left)
        self.half_side = random.uniform(0.55, 0.75) * (right - left)
        self.angle = random.uniform(-0.3, 0.3)
        directions = [(0.0, 2.2), (-2.4, 0.5), (2.4, 0.5)]
        self.away = np.array(directions[random.integers(3)]) * self.half_side
        self.first = round(0.33 * len(alignment))
        self.last = round(0.66 * len(alignment))

    def nearness(self, index: int) -> float:
        """0 where the thing is away, 1 where it is over the mouth."""
        coming = np.clip((index - self.first) / RAMP, 0, 1)
        going = np.clip((self.last - index) / RAMP, 0, 1)
        share = float(coming * going)
        return share * share * (3 - 2 * share)

    def paste(self, frame: np.ndarray, index: int, thing: Thing) -> tuple[np.ndarray, float]:
        """A frame, (H, W, 3), with the thing, and the share of the lips that it covers."""
        nearness = self.nearness(index)
        if nearness == 0:
            return frame, 0.0
        colours, opacity = thing
        centre = self.mouth + (1 - nearness) * self.away

        rows, columns = np.mgrid[: frame.shape[0], : frame.shape[1]].astype(float)
        to_crop = np.linalg.inv(np.vstack([self.transforms[index], [0, 0, 1]]))
        x = to_crop[0, 0] * columns + to_crop[0, 1] * rows + to_crop[0, 2]
        y = to_crop[1, 0] * columns + to_crop[1, 1] * rows + to_crop[1, 2]
        cos = np.cos(self.angle) * SIZE / 2 / self.half_side
        sin = np.sin(self.angle) * SIZE / 2 / self.half_side
        place = [
            cos * (y - centre[1]) - sin * (x - centre[0]) + SIZE / 2,
            cos * (x - centre[0]) + sin * (y - centre[1]) + SIZE / 2,
        ]
        share = map_coordinates(gaussian_filter(opacity, 1.5), place, order=1)[..., None]
        drawn = np.stack(
            [map_coordinates(colours[..., c], place, order=1, mode="nearest") for c in range(3)], 2
        )
        pasted = frame * (1 - share) + drawn.clip(0, 255) * share

        from_mouth = np.stack([x, y], axis=-1) - self.mouth
        lips = ((from_mouth / self.half_lips) ** 2).sum(axis=-1) < 1
        return pasted.round().astype(np.uint8), float((share[lips] > 0.5).mean())


def skin_of(frames: np.ndarray, alignment: Alignment) -> np.ndarray:
    """(3,) the colour of the cheek under an eye, in the first frame."""
    x, y = alignment.transforms[0] @ (0.3 * CROP_SIZE, 0.45 * CROP_SIZE, 1)
    return frames[0, round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4].mean(axis=(0, 1))


def stays(frames: np.ndarray) -> np.ndarray:
    """(T,) bool: frames that stay because the mouth is covered."""
    staying = np.zeros(len(frames), bool)
    for stretch in follow_face(frames).kept:
        staying[stretch.start : stretch.stop] = stretch.reason == COVERED
    return staying


def count(frames: np.ndarray, name: str, seed: int) -> np.ndarray:
    """Frames of a clip with one thing: well covered, of these staying, free, of these staying."""
    alignment = align(frames)
    random = np.random.default_rng([seed, list(THINGS).index(name)])
    thing = THINGS[name](skin_of(frames, alignment), random)
    pasting = Pasting(alignment, random)

    pasted = []
    shares = []
    for index, frame in enumerate(frames):
        changed, share = pasting.paste(frame, index, thing)
        pasted.append(changed)
        shares.append(share)
    staying = stays(np.stack(pasted))
    is_covered = np.array(shares) >= WELL_COVERED
    indices = np.arange(len(frames))
    is_free = (indices < pasting.first - STRIDE) | (indices > pasting.last + STRIDE)
    sums = [is_covered, is_covered & staying, is_free, is_free & staying]
    return np.array([part.sum() for part in sums])


def clips_of(folders: list[Path]) -> Iterator[np.ndarray]:
    """Yield the frames of every video of the folders."""
    for folder in folders:
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() in VIDEO_SUFFIXES:
                yield np.asarray(read_video(path, None, require_audio=False).frames)


def main() -> None:
    """Print the counts of each thing, and of the clips as they are."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folders", type=Path, nargs="+")
    arguments = parser.parse_args()

    counts = {name: np.zeros(4, int) for name in THINGS}
    untouched = np.zeros(2, int)
    for seed, frames in enumerate(clips_of(arguments.folders)):
        untouched += [len(frames), stays(frames).sum()]
        for name in THINGS:
            counts[name] += count(frames, name, seed)
    for name, (covered, found, free, wrong) in [*counts.items(), ("all", sum(counts.values()))]:
        print(
            f"{name}: {found} of {covered} covered frames stay ({found / covered:.3f}), and "
            f"{wrong} of {free} others"
        )
    print(f"clips as they are: {untouched[1]} of {untouched[0]} frames stay")


if __name__ == "__main__":
    main()
