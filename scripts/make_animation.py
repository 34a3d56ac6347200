"""Draw the README's moving picture: one studio person talking, and a committed generator's edits of the same frames.

    python scripts/make_animation.py docs/edit.webp action_renderer

The person and the sentence are of the reporting split: no network was trained on either. Each edit swells from nothing to level 3
and back, so that a reader sees what it does. Sound does not fit into a picture: `cdrl dial RUN` plays it.
"""

import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cdrl.editing.pipeline import edit_clip
from cdrl.editors.loading import load_editor
from cdrl.media import faces
from cdrl.studio.acting import ClipSpec, act
from cdrl.studio.corpus import render_performance

PERSON, SENTENCE = 312, 301
SHOWN = ("happy", "angry", "sad", "surprised")
SIZE, GAP, HEAD, RATE = 176, 6, 26, 25
MOST = 1_500_000  # bytes

generator, spec = load_editor(sys.argv[2]), ClipSpec(PERSON, SENTENCE, "neutral", 1)
frames, _ = render_performance(spec, act(spec), 256)
crops = faces.crop(frames, faces.align(frames), SIZE)
curve = np.sin(np.linspace(0, np.pi, len(crops))).astype(np.float32) ** 0.5
columns = {"source": crops} | {
    name: edit_clip(generator, crops, name, curve, source_emotion="neutral") for name in SHOWN
}
wide, font = len(columns) * (SIZE + GAP) - GAP, ImageFont.load_default(15)
drawn = []
for k in range(len(crops)):
    image = Image.new("RGB", (wide, HEAD + SIZE + 8), "white")
    pen = ImageDraw.Draw(image)
    for column, (name, pictures) in enumerate(columns.items()):
        left = column * (SIZE + GAP)
        pen.text((left + SIZE / 2, HEAD / 2), name, "#222222", font, anchor="mm")
        image.paste(Image.fromarray(pictures[k]), (left, HEAD))
        if name != "source":  # a bar as long as the intensity
            pen.rectangle(
                (left, HEAD + SIZE + 3, left + round(SIZE * float(curve[k])), HEAD + SIZE + 6),
                "#0072B2",
            )
    drawn.append(image)
for quality in (90, 80, 70, 60):
    drawn[0].save(
        sys.argv[1],
        save_all=True,
        append_images=drawn[1:],
        duration=1000 // RATE,
        loop=0,
        quality=quality,
        method=6,
    )
    with open(sys.argv[1], "rb") as file:
        if (length := len(file.read())) <= MOST:
            break
print(f"{sys.argv[1]}: {len(drawn)} frames, {length / 1e6:.2f} MB, quality {quality}")
