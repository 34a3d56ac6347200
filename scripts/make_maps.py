"""Draw the README's two maps of a run: the same frames by content and by emotion, coloured by emotion.

python scripts/make_maps.py runs/demo docs/maps.jpg
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from cdrl.core.settings import stage_folder
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.report.style import COLOURS
from cdrl.stages.s04_probe import factors_of_frames

SIDE, EDGE, LEGEND, FINE = 600, 30, 70, 3  # pixels; drawn `FINE` times as large, then made smaller

run = Path(sys.argv[1])
folder = stage_folder(run, "probe")
sheet = Image.new("RGB", (2 * SIDE * FINE, (SIDE + LEGEND) * FINE), "white")
draw = ImageDraw.Draw(sheet)
font = ImageFont.load_default(20 * FINE)
for column, name in enumerate(("content", "emotion")):
    points = np.load(folder / f"map_{name}.npy")
    emotions = np.asarray(
        factors_of_frames(run, np.load(folder / f"map_{name}_rows.npy"))["emotion"]
    )
    low, high = np.percentile(points, [0.5, 99.5], axis=0)
    places = (EDGE + (SIDE - 2 * EDGE) * np.clip((points - low) / (high - low), 0, 1)) * FINE
    places += np.array([column * SIDE, LEGEND]) * FINE
    draw.text(((column * SIDE + EDGE) * FINE, 12 * FINE), name, "black", font)
    for k in np.random.default_rng(0).permutation(
        len(places)
    ):  # no emotion lies on top of all others
        x, y = places[k]
        draw.ellipse(
            (x - 3 * FINE, y - 3 * FINE, x + 3 * FINE, y + 3 * FINE),
            COLOURS[SCORED_EMOTIONS.index(emotions[k])],
        )
x = EDGE * FINE
for emotion, colour in zip(SCORED_EMOTIONS, COLOURS):
    draw.ellipse((x, 46 * FINE, x + 12 * FINE, 58 * FINE), ImageColor.getrgb(colour))
    draw.text((x + 18 * FINE, 40 * FINE), emotion, "black", font)
    x += (30 + 12 * len(emotion)) * FINE
sheet.resize((2 * SIDE, SIDE + LEGEND), Image.LANCZOS).save(sys.argv[2], quality=85)
