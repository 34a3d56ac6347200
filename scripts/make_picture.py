"""Draw the README's picture: studio people, and edits of them to every emotion.

    python scripts/make_picture.py docs/edits.jpg action_renderer

Arguments are the file and a committed editor. The people are of the reporting split.
"""

import sys

import numpy as np
from PIL import Image

from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.editing.pipeline import edit_clip
from cdrl.editors.base import Editor
from cdrl.editors.loading import load_editor
from cdrl.media import faces
from cdrl.studio.acting import ClipSpec, act
from cdrl.studio.render import render

PEOPLE = (303, 305, 307, 312, 316)
SENTENCE = 301
RENDERED_SIZE = 256  # pixels
SIZE = 144  # of a crop
GAP = 8  # between the source and its edits
HALF = 6  # frames rendered on each side of the one that is shown


def middle_crops(person: int) -> np.ndarray:
    """(2 HALF + 1, SIZE, SIZE, 3) crops around the middle of a neutral clip."""
    performance = act(ClipSpec(person, SENTENCE, "neutral", 1))
    middle = len(performance.coefficients) // 2
    part = slice(middle - HALF, middle + HALF + 1)
    frames, _ = render(
        person,
        performance.coefficients[part],
        performance.pose[part],
        performance.gaze[part],
        performance.scene,
        size=RENDERED_SIZE,
    )
    return faces.crop(frames, faces.align(frames), SIZE)


def picture_row(editor: Editor, person: int) -> np.ndarray:
    """(SIZE, W, 3): the source, a gap, and its edit to every emotion."""
    crops = middle_crops(person)
    gap = np.full((SIZE, GAP, 3), 255, np.uint8)
    pictures = [crops[HALF], gap]
    for emotion in SCORED_EMOTIONS:
        if emotion != "neutral":
            edited = edit_clip(editor, crops, emotion, source_emotion="neutral")
            pictures.append(edited[HALF])
    return np.concatenate(pictures, 1)


def main() -> None:
    editor = load_editor(sys.argv[2])
    rows = [picture_row(editor, person) for person in PEOPLE]
    Image.fromarray(np.concatenate(rows)).save(sys.argv[1], quality=88)


if __name__ == "__main__":
    main()
