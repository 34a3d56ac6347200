"""Landmarks that no part of the kit reads, to judge its trackers by: MediaPipe's 478 points.

    python -m venv reference && reference/bin/pip install mediapipe==0.10.14 av
    reference/bin/python scripts/reference_mesh.py FOLDER ... --out reference.npz

For development only, in an environment of its own. Writes for every video (T, 478, 2) points in
pixels, NaN where no face is found; `scripts/measure_tracker.py` reads them.
"""

import argparse
from pathlib import Path

import av
import numpy as np
from mediapipe.python.solutions import face_mesh

SUFFIXES = (".avi", ".flv", ".mkv", ".mov", ".mp4", ".mpg", ".webm")
POINTS = 478
MOST_FRAMES = 150  # of a clip


def read_points(path: Path) -> np.ndarray:
    """The points of the first frames of a video, (T, 478, 2)."""
    points = []
    with av.open(str(path)) as container, face_mesh.FaceMesh(refine_landmarks=True) as mesh:
        for frame in container.decode(video=0):
            if len(points) == MOST_FRAMES:
                break
            image = frame.to_ndarray(format="rgb24")
            height, width = image.shape[:2]
            faces = mesh.process(image).multi_face_landmarks
            if faces:
                points.append([(p.x * width, p.y * height) for p in faces[0].landmark])
            else:
                points.append(np.full((POINTS, 2), np.nan))

    return np.array(points, np.float32)


def main() -> None:
    """Read every video of the folders."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()

    points = {}
    for folder in arguments.folders:
        for path in sorted(folder.rglob("*")):
            if path.suffix.lower() in SUFFIXES:
                points[path.name] = read_points(path)
                print(path.name, len(points[path.name]))

    np.savez(arguments.out, **points)


if __name__ == "__main__":
    main()
