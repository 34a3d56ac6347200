"""Draw the README's animation: a studio person talking, and edits of the same frames.

    python scripts/make_animation.py docs/edit.webp action_renderer

Arguments are the file and a committed editor. The person and the sentence are of the reporting
split: no network was trained on either. The intensity of each edit rises from 0 to level 3 and
falls again, so that a reader sees what it does. A picture has no sound: `cdrl dial RUN` plays it.
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cdrl.editing.pipeline import edit_clip
from cdrl.editors.loading import load_editor
from cdrl.media import faces
from cdrl.studio.acting import ClipSpec, act
from cdrl.studio.corpus import render_performance

PERSON = 312
SENTENCE = 301
EMOTIONS = ("happy", "angry", "sad", "surprised")
RENDERED_SIZE = 256  # pixels
SIZE = 176  # of a crop
GAP = 6
HEAD = 26  # above the crops, for their names
FOOT = 8  # below them, for the intensity
RATE = 25  # frames a second
LARGEST = 1_500_000  # bytes
QUALITIES = (90, 80, 70, 60)

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont


def draw_frame(crops: dict[str, np.ndarray], intensity: float, font: Font) -> Image.Image:
    """One frame: the crops, {name: (H, H, 3)}, side by side, a bar as long as the intensity."""
    width = len(crops) * (SIZE + GAP) - GAP
    image = Image.new("RGB", (width, HEAD + SIZE + FOOT), "white")
    pen = ImageDraw.Draw(image)
    bottom = HEAD + SIZE
    for column, (name, crop) in enumerate(crops.items()):
        left = column * (SIZE + GAP)
        pen.text((left + SIZE / 2, HEAD / 2), name, "#222222", font, anchor="mm")
        image.paste(Image.fromarray(crop), (left, HEAD))
        if name != "source":
            right = left + round(SIZE * intensity)
            pen.rectangle((left, bottom + 3, right, bottom + 6), "#0072B2")
    return image


def save(frames: list[Image.Image], out: Path) -> int:
    """Write an animated WebP in the best quality that is small enough; returns that quality."""
    for quality in QUALITIES:
        frames[0].save(
            out,
            save_all=True,
            append_images=frames[1:],
            duration=1000 // RATE,
            loop=0,
            quality=quality,
            method=6,
        )
        if out.stat().st_size <= LARGEST:
            break
    return quality


def main() -> None:
    out = Path(sys.argv[1])
    editor = load_editor(sys.argv[2])
    spec = ClipSpec(PERSON, SENTENCE, "neutral", 1)
    rendered, _ = render_performance(spec, act(spec), RENDERED_SIZE)
    crops = faces.crop(rendered, faces.align(rendered), SIZE)
    time = np.linspace(0, np.pi, len(crops))
    curve = np.sin(time).astype(np.float32) ** 0.5

    clips = {"source": crops}
    for emotion in EMOTIONS:
        clips[emotion] = edit_clip(editor, crops, emotion, curve, source_emotion="neutral")

    font = ImageFont.load_default(15)
    frames = []
    for number, intensity in enumerate(curve):
        pictures = {name: clip[number] for name, clip in clips.items()}
        frames.append(draw_frame(pictures, float(intensity), font))
    quality = save(frames, out)
    megabytes = out.stat().st_size / 1e6
    print(f"{out}: {len(frames)} frames, {megabytes:.2f} MB, quality {quality}")


if __name__ == "__main__":
    main()
