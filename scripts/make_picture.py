"""Draw the README's picture: studio people of the reporting split, and what a committed generator makes of them.

python scripts/make_picture.py docs/edits.jpg action_renderer
"""

import sys

import numpy as np
from PIL import Image

from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.editing.pipeline import edit_clip
from cdrl.editors.loading import load_editor
from cdrl.media import faces
from cdrl.studio.acting import ClipSpec, act
from cdrl.studio.render import render

PEOPLE = (303, 305, 307, 312, 316)
SIZE = 144

generator, rows = load_editor(sys.argv[2]), []
for person in PEOPLE:
    played = act(ClipSpec(person, 301, "neutral", 1))
    part = slice(len(played.coefficients) // 2 - 6, len(played.coefficients) // 2 + 7)
    frames, _ = render(
        person,
        played.coefficients[part],
        played.pose[part],
        played.gaze[part],
        played.scene,
        size=256,
    )
    crops = faces.crop(frames, faces.align(frames), SIZE)
    edits = [
        edit_clip(generator, crops, emotion, source_emotion="neutral")[6]
        for emotion in SCORED_EMOTIONS
        if emotion != "neutral"
    ]
    rows.append(np.concatenate([crops[6], np.full((SIZE, 8, 3), 255, np.uint8), *edits], 1))
Image.fromarray(np.concatenate(rows)).save(sys.argv[1], quality=88)
