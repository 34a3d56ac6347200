"""The explorer's data for a browser: script, style, a header, and one block of numbers."""

from pathlib import Path

import numpy as np

from cdrl.report.explorer.atlas import SPACES, Atlas
from cdrl.report.style import COLOURS, mixed_colour, palette

FOLDER = Path(__file__).parent
TITLES = {"content": "Content: what is said", "emotion": "Emotion: how it is felt"}
STRIPS = {
    "content": "Nearest by content under every other emotion (cosine)",
    "emotion": "Nearest by emotion in every other sentence (cosine)",
}


def script() -> str:
    """The JavaScript of the explorer, one module without imports."""
    parts = [(FOLDER / name).read_text() for name in ("scatter.js", "explorer.js")]
    return "\n".join(parts)


def style_sheet() -> str:
    """The CSS of the explorer."""
    return (FOLDER / "explorer.css").read_text()


def payload(atlas: Atlas) -> tuple[dict, bytes]:
    """The data of both maps for a browser.

    Args:
        atlas: the maps.

    Returns:
        The header, which JSON can write, and little-endian arrays in the order in which `unpack`
        of explorer.js reads them: positions (n, 2) float32 of each map, neighbours (n, G) int32
        of each, cosines (n, G) float32 of each, clip (n,) int32, seconds (n,) float32, and one
        (n,) uint16 code for each factor.
    """
    factors = []
    factor_codes = []
    for name, values in atlas.factors.items():
        labels, codes = np.unique(values, return_inverse=True)
        factors.append(_factor_header(name, labels))
        factor_codes.append(codes)

    maps = [_map_header(atlas, space) for space in SPACES]
    header = {"n": len(atlas.frames), "maps": maps, "factors": factors}

    blocks = [_packed(atlas.points[space], "<f4") for space in SPACES]
    blocks += [_packed(atlas.nearest[space], "<i4") for space in SPACES]
    blocks += [_packed(atlas.similarity[space], "<f4") for space in SPACES]
    blocks.append(_packed(atlas.clip, "<i4"))
    blocks.append(_packed(atlas.seconds, "<f4"))
    blocks += [_packed(codes, "<u2") for codes in factor_codes]

    return header, b"".join(blocks)


def _map_header(atlas: Atlas, space: str) -> dict:
    """Titles of one map and names of the groups of its neighbours."""
    groups = atlas.groups[space]
    return {
        "title": TITLES[space],
        "note": quality_line(atlas, space),
        "strip": STRIPS[space],
        "groups": groups,
        "num_groups": len(groups),
    }


def _factor_header(name: str, labels: np.ndarray) -> dict:
    """Name of one factor, its (L,) labels and their colours."""
    texts = [str(label) for label in labels]
    return {"name": name, "labels": texts, "colours": factor_colours(name, len(labels))}


def _packed(values: np.ndarray, kind: str) -> bytes:
    """The bytes of an (...,) array in numpy's type `kind`."""
    return np.ascontiguousarray(values, kind).tobytes()


def quality_line(atlas: Atlas, space: str) -> str:
    """How far a map can be trusted, in one line that is written under it.

    Args:
        atlas: the maps.
        space: one of `SPACES`.
    """
    quality = atlas.quality[space]
    trustworthiness = float(quality["trustworthiness"])
    agreement = float(quality["knn_agreement"])
    chance = float(quality["knn_agreement.chance"])
    num_frames = float(quality["n"])
    return (
        f"trustworthiness {trustworthiness:.2f} (random map: about .5), "
        f"neighbours kept {agreement:.2f} (chance {chance:.3f}), n = {num_frames:.0f}"
    )


def factor_colours(factor: str, count: int) -> list[str]:
    """Colours for the labels of a factor.

    Args:
        factor: name of the factor; the colours of "intensity" go from light to dark.
        count: number of its labels.

    Returns:
        `count` colours as #rrggbb.
    """
    if factor != "intensity":
        return palette(count)

    colours = []
    for position in range(count):
        share = 0.75 * (1 - position / max(1, count - 1))
        colours.append(mixed_colour(COLOURS[0], 255, share))
    return colours
