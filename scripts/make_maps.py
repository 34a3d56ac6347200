"""Draw the README's two maps of a run: the same frames by content and by emotion.

    python scripts/make_maps.py runs/demo docs/maps.jpg

Arguments are the run and the file. The colour is the emotion.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from cdrl.core.settings import stage_folder
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.corpora.frame_labels import factors_of_frames
from cdrl.report.style import COLOURS

SIDE = 600  # pixels of a map
EDGE = 30
LEGEND = 70  # pixels above the maps
FINE = 3  # drawn so many times as large, then made smaller
RADIUS = 3  # pixels of a point

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def draw_map(pen: ImageDraw.ImageDraw, run: Path, space: str, left: int) -> None:
    """Draw one map with its left edge there; no emotion lies on top of all others."""
    folder = stage_folder(run, "probe")
    points = np.load(folder / f"map_{space}.npy")
    rows = np.load(folder / f"map_{space}_rows.npy")
    emotions = np.asarray(factors_of_frames(run, rows)["emotion"])

    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    shares = np.clip((points - low) / (high - low), 0, 1)
    positions = (EDGE + (SIDE - 2 * EDGE) * shares) * FINE
    positions += np.array([left, LEGEND]) * FINE
    radius = RADIUS * FINE
    for number in np.random.default_rng(0).permutation(len(positions)):
        x, y = positions[number]
        colour = COLOURS[SCORED_EMOTIONS.index(emotions[number])]
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), colour)


def draw_legend(pen: ImageDraw.ImageDraw, font: Font) -> None:
    """The colours of the emotions, in one line."""
    x = EDGE * FINE
    for emotion, colour in zip(SCORED_EMOTIONS, COLOURS, strict=False):
        dot = (x, 46 * FINE, x + 12 * FINE, 58 * FINE)
        pen.ellipse(dot, ImageColor.getrgb(colour))
        pen.text((x + 18 * FINE, 40 * FINE), emotion, "black", font)
        x += (30 + 12 * len(emotion)) * FINE


def main() -> None:
    run = Path(sys.argv[1])
    size = (2 * SIDE, SIDE + LEGEND)
    picture = Image.new("RGB", (size[0] * FINE, size[1] * FINE), "white")
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(20 * FINE)
    for column, space in enumerate(("content", "emotion")):
        left = column * SIDE
        pen.text(((left + EDGE) * FINE, 12 * FINE), space, "black", font)
        draw_map(pen, run, space, left)
    draw_legend(pen, font)
    picture.resize(size, Image.Resampling.LANCZOS).save(sys.argv[2], quality=85)


if __name__ == "__main__":
    main()
