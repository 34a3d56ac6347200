"""Fit the renderer to real clips, and measure redrawn frames and edits before and after.

    python scripts/measure_fit.py FOLDER --people swiz3n --emotions happy,sad,surprised

For each person named (as `cdrl evaluate` tells them) two fits: `own`, to that person's clips but
for those that `cdrl edit --fit` leaves out, and `others`, to the clips of all other people in
FOLDER. Nothing is kept.
"""

import argparse
from pathlib import Path

import numpy as np

from cdrl.editing.fit import read_crops, split_clips
from cdrl.editing.pipeline import crop_size, edit_clip
from cdrl.editors.default_editor import DefaultEditor
from cdrl.editors.frame_pairs import (
    TrackedClip,
    fit_renderer,
    kept_movement,
    redrawing_errors,
    tracked_clip,
)
from cdrl.editors.loading import load_editor
from cdrl.evaluation.real_clips import NEUTRAL, Footage, PersonClip, find_people, read_footage
from cdrl.evaluation.real_networks import RealNetworks
from cdrl.evaluation.real_run import INTENSITY, read_face
from cdrl.evaluation.real_scores import FaceReading, PersonEdit, rows_of_edit
from cdrl.media.faces import crop, paste
from cdrl.models.action_renderer import ActionRenderer

SCORES = ("identity", "rise", "top", "opening_correlation", "closure")


def clips_of(editor: DefaultEditor, person: PersonClip) -> list[TrackedClip]:
    """Return the faces of all clips of a person, by name."""
    paths = sorted([person.path, *person.acted.values()])
    return [tracked_clip(editor, read_crops(path), path.stem) for path in paths]


def print_redrawing(
    name: str, before: ActionRenderer, after: ActionRenderer, left_out: list[TrackedClip]
) -> None:
    """Print the errors on clips that were left out."""
    errors = redrawing_errors([before, after], left_out)
    unchanged, error_before, error_after = errors.mean(0)
    gain = errors[:, 1] - errors[:, 2]
    print(
        f"{name}: without warp {unchanged:.3f}, before {error_before:.3f}, after {error_after:.3f} "
        f"of 255 (n {len(errors)} pairs, standard error of the gain "
        f"{gain.std() / np.sqrt(len(gain)):.3f}), movement "
        f"{kept_movement(before, after, left_out):.3f}",
        flush=True,
    )


def score_edit(
    editor: DefaultEditor,
    person: str,
    emotion: str,
    footage: Footage,
    source: FaceReading,
    networks: RealNetworks,
) -> list[float]:
    """Return the scores of one edit, in the order of `SCORES`."""
    crops = crop(footage.frames, footage.alignment, crop_size(footage.alignment))
    edited = edit_clip(
        editor, crops, emotion, INTENSITY, footage.frame_rate, source_emotion=NEUTRAL
    )
    frames = paste(footage.frames, edited, footage.alignment)
    reading = read_face(frames, footage, networks)
    rows = rows_of_edit(PersonEdit(person, emotion, source, reading))

    scores = []
    for name in SCORES:
        value, weight = rows.get(name, [0.0, 0.0])
        scores.append(value / weight if weight else float("nan"))
    return scores


def measure_edits(
    editors: dict[str, DefaultEditor], person: PersonClip, emotions: list[str]
) -> None:
    """Print the scores of the edits of one person by each editor, means over the emotions."""
    networks = RealNetworks()
    footage = read_footage(person.path)
    source = read_face(footage.frames, footage, networks)
    for name, editor in editors.items():
        rows = []
        for emotion in emotions:
            rows.append(score_edit(editor, person.person, emotion, footage, source, networks))
        table = zip(SCORES, np.array(rows).mean(0), strict=True)
        print(f"{person.person} {name}: " + ", ".join(f"{key} {v:.3f}" for key, v in table))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--people", required=True, help="between commas")
    parser.add_argument(
        "--emotions", default="", help="that are edited and scored; none by default"
    )
    parser.add_argument("--own-steps", type=int, default=200)
    parser.add_argument("--others-steps", type=int, default=250)
    arguments = parser.parse_args()

    editor = load_editor()
    assert isinstance(editor, DefaultEditor)
    people = {person.person: person for person in find_people(arguments.folder)}
    clips = {name: clips_of(editor, person) for name, person in people.items()}
    before = editor.renderer
    for name in arguments.people.split(","):
        editors = {"before": editor}
        learnt, left_out, _ = split_clips(clips[name])
        of_others = [clip for other in clips if other != name for clip in clips[other]]
        for kind, steps, data, test in (
            ("own", arguments.own_steps, learnt, left_out),
            ("others", arguments.others_steps, of_others, clips[name]),
        ):
            if not steps:
                continue
            after, _ = fit_renderer(before, data, steps)
            print_redrawing(f"{name} {kind}", before, after, test)
            editors[kind] = editor.with_renderer(after, kind)
        if arguments.emotions:
            measure_edits(editors, people[name], arguments.emotions.split(","))


if __name__ == "__main__":
    main()
