"""What each part of an expression adds to the emotion, and what it costs in likeness.

    python scripts/measure_likeness.py FOLDER

Every person of FOLDER is edited as `cdrl evaluate` does, once whole and once without each shift of
`cdrl.editors.default_amounts`, or with half of what the renderer moves above and below the nose.
Printed are means over people: by how much the part raises the probability and changes the identity.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.corpora.batches import image_tensor
from cdrl.editing.control import emotion_weights
from cdrl.editing.pipeline import FACE_FRAMES, crop_size, smooth
from cdrl.editors.default_amounts import EXPRESSIONS
from cdrl.editors.default_editor import DefaultEditor
from cdrl.editors.default_shifts import PARTS, shift_flow
from cdrl.editors.loading import load_editor
from cdrl.evaluation.real_clips import NEUTRAL, Footage, find_people, read_footage
from cdrl.evaluation.real_networks import RealNetworks
from cdrl.evaluation.real_run import FRAMES_READ, TARGETS
from cdrl.media.faces import Alignment, crop, paste
from cdrl.media.inspection import spread
from cdrl.models.field_network import Fields, apply_fields

NOSE = 0.47  # of the crop's height: the upper face ends there
Reading = tuple[np.ndarray, np.ndarray]  # (7,) probabilities, (6, 1024) identity


def variants_of(emotion: str, fields: Fields, masks: torch.Tensor) -> dict[str, Fields]:
    """Return the fields whole, and without each part: name -> flow, shading, residual."""
    flow, shading, residual = fields
    variants = {"whole": fields}
    shifts = torch.zeros(1, len(PARTS), 2)
    for part, shift in EXPRESSIONS[emotion].shifts.items():
        one = torch.zeros(1, len(PARTS), 2)
        one[0, list(PARTS).index(part)] = torch.tensor(shift)
        variants[part] = (flow - shift_flow(masks, one), shading, residual)
        shifts += one

    drawn = flow - shift_flow(masks, shifts)
    is_upper = (torch.arange(flow.shape[-1]) < NOSE * flow.shape[-1]).float()[:, None]
    variants["renderer above, half"] = (flow - drawn * is_upper / 2, shading, residual)
    variants["renderer below, half"] = (flow - drawn * (1 - is_upper) / 2, shading, residual)
    return variants


@torch.no_grad()
def fields_of(
    editor: DefaultEditor, crops: np.ndarray, emotion: str, numbers: np.ndarray
) -> tuple[Fields, torch.Tensor]:
    """Return the fields of some frames of a clip, and the masks of the parts."""
    weights = emotion_weights(emotion, editor.card.emotions, NEUTRAL)
    own = editor.for_clip(crops[spread(len(crops), FACE_FRAMES)], weights[1])
    assert own.clip is not None
    images = image_tensor(crops)[None]
    flow, shading, residual = own.fields(images, weights[:1], torch.ones(1, len(crops)))
    fields = smooth(flow[0])[numbers], smooth(shading[0])[numbers], smooth(residual[0])[numbers]
    return fields, own.clip.masks


def read_frames(networks: RealNetworks, frames: np.ndarray, alignment: Alignment) -> Reading:
    """Return what the networks read in some frames."""
    crops = crop(frames, alignment, 224)
    return networks.expressions(crops).mean(0), networks.identity(crops)


def identity_of(first: np.ndarray, second: np.ndarray) -> float:
    """Return the mean cosine of different frames."""
    cosines = first @ second.T
    return float(cosines[~np.eye(len(cosines), dtype=bool)].mean())


def score_person(
    editor: DefaultEditor, networks: RealNetworks, footage: Footage, emotion: str
) -> dict[str, tuple[float, float]]:
    """Return rise and identity of every variant of one edit."""
    numbers = np.linspace(0, len(footage.frames) - 1, FRAMES_READ).round().astype(int)
    alignment = Alignment(footage.alignment.transforms[numbers], footage.alignment.mouth_box)
    frames = footage.frames[numbers]
    crops = crop(footage.frames, footage.alignment, crop_size(footage.alignment))
    before, source = read_frames(networks, frames, alignment)
    target = SCORED_EMOTIONS.index(emotion)

    fields, masks = fields_of(editor, crops, emotion, numbers)
    scores = {}
    for name, variant in variants_of(emotion, fields, masks).items():
        edited = apply_fields(image_tensor(crops[numbers]), *variant)
        pixels = (edited * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
        after, identity = read_frames(networks, paste(frames, pixels, alignment), alignment)
        rise = float(after[target] - before[target])
        scores[name] = (rise, identity_of(identity, source))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()

    editor = load_editor()
    assert isinstance(editor, DefaultEditor)
    networks = RealNetworks()
    footages = [read_footage(person.path) for person in find_people(arguments.folder)]
    for emotion in TARGETS:
        scores = [score_person(editor, networks, footage, emotion) for footage in footages]
        whole = np.mean([row["whole"] for row in scores], 0)
        print(f"{emotion}: rise {whole[0]:.3f}, identity {whole[1]:.3f}")
        for name in list(scores[0])[1:]:
            rise, identity = whole - np.mean([row[name] for row in scores], 0)
            print(f"  {name}: rise {rise:+.4f}, identity {identity:+.4f}", flush=True)


if __name__ == "__main__":
    main()
