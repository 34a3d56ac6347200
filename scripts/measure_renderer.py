"""Print the renderer's frames per second on one core at 64, 128 and 256 pixels.

python scripts/measure_renderer.py
"""

import time

import numpy as np

from cdrl.studio.render import render


def main() -> None:
    rng = np.random.default_rng(0)
    for size in (64, 128, 256):
        frames = 20_000 // size
        inputs = (
            np.clip(rng.uniform(-0.2, 0.3, (frames, 52)), 0, 1),
            rng.normal(0, 0.05, (frames, 6)) * (1, 1, 1, 0.2, 0.2, 0.2),
            rng.normal(0, 0.1, (frames, 2)),
        )
        render(0, *(array[:1] for array in inputs), 0, size)  # compiles and paints
        start = time.process_time()
        render(0, *inputs, 0, size)
        print(f"{size} pixels: {frames / (time.process_time() - start):.0f} frames/s")


if __name__ == "__main__":
    main()
