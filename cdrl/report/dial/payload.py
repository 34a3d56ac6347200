"""What the dial sends to a browser: script, style, controls, clips and fields."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.report.dial.low_rank import LowRankFields
from cdrl.report.dial.source_clip import COLUMNS, SourceClip
from cdrl.report.style import COLOURS

FOLDER = Path(__file__).parent
LEVELS = (1 / 3, 2 / 3, 1.0)  # intensities of the levels 1 to 3
# What shows most on real faces comes first: the small dial of a report has the first ones.
EMOTION_ORDER = ("happy", "surprised", "sad", "angry", "fear", "disgusted", "neutral")
GREY = "#666666"


def script() -> str:
    """The JavaScript of the dial, one module without imports."""
    parts = [(FOLDER / name).read_text() for name in ("warp.js", "dial.js")]
    return "\n".join(parts)


def style_sheet() -> str:
    """The CSS of the dial."""
    return (FOLDER / "dial.css").read_text()


def offered_emotions(learnt: Iterable[str]) -> list[str]:
    """The emotions that can be chosen, in the order of their buttons.

    Args:
        learnt: emotions of the generator.
    """
    learnt = set(learnt)
    return [name for name in EMOTION_ORDER if name in learnt]


def controls(clip_names: Sequence[str], emotions: Sequence[str], labels: Sequence[str]) -> dict:
    """What the browser needs to draw the controls; JSON can write it.

    Args:
        clip_names: of the source clips.
        emotions: that can be chosen.
        labels: that readings are of.
    """
    clips = [{"name": name} for name in clip_names]
    buttons = {"emotions": list(emotions), "colours": _colours(emotions)}
    bars = {"labels": list(labels), "label_colours": _colours(labels)}
    return {"clips": clips, **buttons, **bars, "levels": LEVELS}


def _colours(emotions: Sequence[str]) -> list[str]:
    """The colours that the explorer gives to emotions."""
    order = sorted(SCORED_EMOTIONS)
    colours = []
    for name in emotions:
        if name in order:
            colour = COLOURS[order.index(name) % len(COLOURS)]
            colours.append(colour.lower())
        else:
            colours.append(GREY)

    return colours


def clip_facts(clip: SourceClip) -> dict:
    """What the browser needs of a clip besides its pictures and sound.

    Args:
        clip: the source.
    """
    num_frames, side = clip.crops.shape[:2]
    facts = {"name": clip.name, "note": clip.note, "rate": clip.frame_rate}
    layout = {"frames": num_frames, "side": side, "columns": COLUMNS}
    return {**facts, **layout, "waveform": clip.waveform()}


def fields_shape(fields: LowRankFields) -> dict:
    """What `unpackFields` of warp.js needs to read `fields_bytes`.

    Args:
        fields: of one clip and one emotion.
    """
    _, num_frames, rank = fields.weights.shape
    cells = {"fine": fields.fine, "coarse": fields.coarse}
    return {"knots": fields.knots, "frames": num_frames, "rank": rank, **cells}


def fields_bytes(fields: LowRankFields) -> bytes:
    """Fields as little-endian numbers.

    Args:
        fields: of one clip and one emotion.

    Returns:
        Scale (R,) float32, weights (K, T, R) int16, components (R, 3 fine^2 + coarse^2) int8, one
        after the other.
    """
    scale = np.ascontiguousarray(fields.scale, "<f4")
    weights = np.ascontiguousarray(fields.weights, "<i2")
    components = np.ascontiguousarray(fields.components, "i1")
    return scale.tobytes() + weights.tobytes() + components.tobytes()
