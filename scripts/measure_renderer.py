"""Print the renderer's frames per second on one core at 64, 128 and 256 pixels.

python scripts/measure_renderer.py
"""

import time

import numpy as np

from cdrl.core.vocabulary import ACTIONS
from cdrl.studio.render import render

SIZES = (64, 128, 256)
PIXELS = 20_000  # frames times side
POSE_SCALE = (1, 1, 1, 0.2, 0.2, 0.2)


def main() -> None:
    rng = np.random.default_rng(0)
    for size in SIZES:
        num_frames = PIXELS // size
        samples = rng.uniform(-0.2, 0.3, (num_frames, len(ACTIONS)))
        coefficients = np.clip(samples, 0, 1)
        pose = rng.normal(0, 0.05, (num_frames, 6)) * POSE_SCALE
        gaze = rng.normal(0, 0.1, (num_frames, 2))
        render(0, coefficients[:1], pose[:1], gaze[:1], 0, size)  # compiles and paints

        start = time.process_time()
        render(0, coefficients, pose, gaze, 0, size)
        seconds = time.process_time() - start
        print(f"{size} pixels: {num_frames / seconds:.0f} frames/s")


if __name__ == "__main__":
    main()
