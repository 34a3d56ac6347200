"""Judge what the default editor reads of a face, on real clips and on rendered ones.

    python scripts/measure_tracker.py reference.npz --chosen FOLDER ... --others FOLDER ... \
        --studio runs/demo/00_corpus/report --out results/tracker

Real clips: the correlation within a clip of what is read with the same movement of landmarks that
no part of the kit reads (`scripts/reference_mesh.py`). `pixels` is the action tracker, `mesh` the
mesh tracker, `mixed` both as the default editor takes them. The shares of the mixture were chosen
on the clips called `chosen`. Where a movement is small the correlation is that of noise, so it is
also given over the half of the clips in which it moves most. And what resting eyes read: 0 is
right.

Rendered clips: R2 of the actions against the truth, within clips.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from cdrl.core.files import atomic_path, write_json
from cdrl.core.vocabulary import ACTIONS
from cdrl.corpora.batches import image_tensor
from cdrl.corpora.store import Store
from cdrl.editors.default_editor import DefaultEditor
from cdrl.editors.default_tracking import mix_movements
from cdrl.editors.loading import load_editor
from cdrl.media.crop_mesh import mesh_in_crops
from cdrl.media.faces import align, crop
from cdrl.media.video import read_video_stream
from cdrl.priors.mesh_actions import load_mesh_tracker, measure_mesh
from cdrl.training.cards import r2, true_actions
from cdrl.training.mesh_tracker import from_median

SIZE = 96  # pixels a side of the crops
READERS = ("pixels", "mesh", "mixed")
# Movement -> the actions that raise it, and those that lower it.
MOVEMENTS = {
    "jawOpen": (("jawOpen",), ()),
    "smile": (("mouthSmile",), ()),
    "blink": (("eyeBlink",), ()),
    "eyeWide": (("eyeWide",), ()),
    "brow_inner": (("browInnerUp",), ("browDown",)),
    "brow_outer": (("browOuterUp",), ("browDown",)),
}
MUST = {"jawOpen": 0.9, "smile": 0.75, "blink": 0.75, "eyeWide": 0.5, "brow_inner": 0.5}


def reference_movements(points: np.ndarray) -> dict[str, np.ndarray]:
    """The movements of landmarks, (T, 478, 2), in distances of the outer eye corners."""
    points = points[..., :2].astype(float)
    across = points[:, 263] - points[:, 33]
    scale = np.linalg.norm(across, axis=1)
    across = across / scale[:, None]
    down = np.stack([-across[:, 1], across[:, 0]], axis=1)
    middle = points[:, [33, 133, 362, 263]].mean(1)

    def height(*indices: int) -> np.ndarray:
        above = middle[:, None] - points[:, indices]
        return np.einsum("tpc,tc->tp", above, down).mean(1) / scale

    def gap(first: int, second: int) -> np.ndarray:
        return np.linalg.norm(points[:, first] - points[:, second], axis=1) / scale

    lid_pairs = ((159, 145), (386, 374), (158, 153), (385, 380), (160, 144), (387, 373))
    lids = np.mean([gap(*pair) for pair in lid_pairs], axis=0)
    return {
        "jawOpen": gap(13, 14),
        "smile": gap(61, 291),
        "blink": -lids,
        "eyeWide": lids,
        "brow_inner": height(55, 107, 285, 336),
        "brow_outer": height(46, 70, 276, 300),
    }


def movement(actions: np.ndarray, name: str) -> np.ndarray:
    """(T, 52) actions -> (T,) one of `MOVEMENTS`."""

    def mean(prefixes: tuple[str, ...]) -> np.ndarray:
        indices = [i for i, action in enumerate(ACTIONS) if action.startswith(prefixes)]
        return actions[:, indices].mean(1) if indices else np.zeros(len(actions))

    raising, lowering = MOVEMENTS[name]
    return mean(raising) - (mean(lowering) if lowering else 0)


def correlation(read: np.ndarray, reference: np.ndarray) -> float:
    """Of the frames in which the reference has a face; 0 where nothing is read."""
    seen = np.isfinite(reference)
    if read[seen].std() < 1e-6:
        return 0.0
    return float(np.corrcoef(read[seen], reference[seen])[0, 1])


@torch.no_grad()
def read_crops(editor: DefaultEditor, crops: np.ndarray) -> dict[str, np.ndarray]:
    """(T, H, H, 3) crops of a clip -> (T, 52) of each reader; the mesh's is a change."""
    pixels = editor.editor.actions(image_tensor(crops)[None])[0]
    measures = measure_mesh(mesh_in_crops(crops))
    mesh = torch.from_numpy(load_mesh_tracker().predict(measures))
    mixed = mix_movements(pixels, pixels.median(0).values, mesh)
    return {"pixels": pixels.numpy(), "mesh": mesh.numpy(), "mixed": mixed.numpy()}


def clip_rows(editor: DefaultEditor, path: Path, points: np.ndarray, group: str) -> list[dict]:
    """One row a movement and reader of a real clip, whose landmarks are (T, 478, 2)."""
    frames = np.concatenate(list(read_video_stream(path, frame_rate=None)))[: len(points)]
    crops = crop(frames, align(list(frames), name=str(path)), SIZE)
    read = read_crops(editor, crops)
    taken = editor.actions_and_changes(crops)[0].numpy()

    rows = []
    for name, curve in reference_movements(points).items():
        for reader in READERS:
            row = {"group": group, "clip": path.name, "movement": name, "reader": reader}
            row["r"] = correlation(movement(read[reader], name), curve)
            row["moves"] = float(np.nanstd(curve))
            row["read"] = float(movement(read[reader], name).mean())
            row["taken"] = float(movement(taken, name).mean())
            rows.append(row)

    return rows


def studio_scores(editor: DefaultEditor, store: Store) -> dict[str, float]:
    """R2 against the truth within clips, the mean over actions that move."""
    read: dict[str, list[np.ndarray]] = {reader: [] for reader in READERS}
    for clip in tqdm(range(len(store.clips)), desc="studio", unit="clip"):
        for reader, actions in read_crops(editor, store.face[store.frames(clip)]).items():
            read[reader].append(actions)

    truth = from_median(store, true_actions(store))
    scores = {}
    for reader, clips in read.items():
        scores[reader] = float(np.nanmean(r2(truth, from_median(store, np.concatenate(clips)))))

    return scores


def table(rows: pd.DataFrame) -> str:
    """Medians over clips as a table in Markdown."""
    lines = [
        "| clips | movement | n | pixels | mesh | mixed | where it moves: pixels | mesh | mixed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (group, name), part in rows.groupby(["group", "movement"], sort=False):
        moving = part[part.moves >= part.moves.median()]
        cells = []
        for some in (part, moving):
            medians = some.groupby("reader").r.median()
            cells += [f"{medians[reader]:.2f}" for reader in READERS]
        count = part["clip"].nunique()
        lines.append(f"| {group} | {name} | {count} | {' | '.join(cells)} |")

    return "\n".join(lines)


def page(rows: pd.DataFrame, studio: dict[str, float], command: str) -> str:
    """The measurement in words and tables."""
    wide = rows[(rows.movement == "eyeWide") & (rows.reader == "pixels")]
    eyes = []
    for group, part in wide.groupby("group", sort=False):
        eyes.append(
            f"{group}: read in pixels {part['read'].mean():.2f} ({part['read'].min():.2f} to "
            f"{part['read'].max():.2f}), taken by the editor {part.taken.mean():.2f} "
            f"({part.taken.min():.2f} to {part.taken.max():.2f})"
        )
    musts = ", ".join(f"{name} {value}" for name, value in MUST.items())
    rendered = ", ".join(f"{reader} {value:.3f}" for reader, value in studio.items())
    return f"""# What the default editor reads of a face

Written by `{command}`.

Median over clips of the correlation within a clip with landmarks that the kit does not read
(MediaPipe's 478 points). `pixels` is the action tracker, `mesh` the mesh tracker, `mixed` what the
default editor takes. The shares of the mixture were chosen on the clips called chosen. "Where it
moves" is the half of the clips in which the movement is largest. To reach: {musts}.

{table(rows)}

`eyeWide` of people who hardly open their eyes wider, mean and range over clips:
{"; ".join(eyes)}.

Rendered people whom neither tracker has met, R2 of the actions within clips: {rendered}.
"""


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("reference", type=Path)
    parser.add_argument("--chosen", nargs="+", type=Path, required=True)
    parser.add_argument("--others", nargs="+", type=Path, default=[])
    parser.add_argument("--studio", type=Path, required=True, help="store of rendered clips")
    parser.add_argument("--out", type=Path, default=Path("results/tracker"))
    arguments = parser.parse_args()

    torch.set_num_threads(1)
    editor = load_editor()
    reference = dict(np.load(arguments.reference))
    found = []
    for group, folders in (("chosen", arguments.chosen), ("others", arguments.others)):
        for folder in folders:
            paths = [path for path in sorted(folder.rglob("*")) if path.name in reference]
            for path in tqdm(paths, desc=folder.name, unit="clip"):
                found += clip_rows(editor, path, reference[path.name], group)

    rows = pd.DataFrame(found)
    studio = studio_scores(editor, Store(arguments.studio))
    command = (
        "scripts/measure_tracker.py reference.npz --chosen FOLDERS --others FOLDERS --studio STORE"
    )
    arguments.out.mkdir(parents=True, exist_ok=True)
    write_json(arguments.out / "tracker.json", {"studio": studio, "clips": found})
    text = page(rows, studio, command)
    with atomic_path(arguments.out / "README.md") as temporary:
        temporary.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
