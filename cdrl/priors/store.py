"""What the frozen priors say of every frame of a crop store, computed once, kept as plain arrays beside it."""

import os
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from cdrl.data import batches
from cdrl.data.store import Store
from cdrl.errors import InputError
from cdrl.priors.audio import audio_prior
from cdrl.priors.language import LanguagePrior
from cdrl.priors.vision import VisionPrior

KINDS = ("face", "mouth", "language", "audio")


def extract(
    store: Store, out: Path, audio: str = "embedded", language: str = "embedded", batch: int = 256,
    vision: tuple = ("face_backbone", "mouth_backbone"),
) -> "Features":  # fmt: skip
    """Run the priors over a store; kinds that are already there are kept, so an interrupted run goes on.

    Args:
        store: crops and sound. out: folder of the features. audio, language: names of the priors.
        batch: frames at once. vision: names of the face and the mouth backbone.

    Returns:
        The features, memory-mapped. On two cores about 1,500 frames a second with the embedded priors.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    missing = [kind for kind in KINDS if not (out / f"{kind}.npy").exists()]
    if missing:
        eyes, prior = VisionPrior(*vision), LanguagePrior(language)
        wanted = {"face": [], "mouth": []} | ({} if prior.embedded else {"language": []})
        boxes = torch.from_numpy(store.mouth_boxes())
        for rows in tqdm(np.array_split(np.arange(len(store)), max(1, len(store) // batch)), desc="features", mininterval=2):
            crops = batches.images(store, rows)
            with torch.no_grad():
                found = dict(zip(("face", "mouth"), eyes(crops, boxes[rows]), strict=True))
                if "language" in wanted:
                    found["language"] = prior.image_features(crops)
            for kind, value in found.items():
                wanted[kind].append(value.half().numpy())
        if "language" not in wanted:  # the embedded CLIP's image tower is the face backbone
            wanted["language"] = wanted["face"]
        heard = audio_prior(audio)
        sound = [heard(store.sound(k), int(r.num_frames), r.frame_rate) for k, r in enumerate(store.clips.itertuples())]
        wanted["audio"] = [value.half().numpy() for value in sound]
        for kind in KINDS:
            with open(out / f"{kind}.partial", "wb") as file:
                np.save(file, np.concatenate(wanted[kind]), allow_pickle=False)
            os.replace(out / f"{kind}.partial", out / f"{kind}.npy")
    return Features(store, out)


class Features:
    """A store's prior features.

    Attributes:
        store: the crops they were made from. face (N, 256), mouth (N, 128), language (N, L), audio (N, A): float16, memory-mapped.

    Raises:
        InputError: features missing, or of another store.
    """

    def __init__(self, store: Store, folder: Path):
        self.store, self.folder = store, Path(folder)
        for kind in KINDS:
            path = self.folder / f"{kind}.npy"
            if not path.exists():
                raise InputError(f"{path}: not extracted yet; run notebook 01 (or `cdrl run`) first")
            setattr(self, kind, np.load(path, mmap_mode="r"))
            if len(getattr(self, kind)) != len(store):
                raise InputError(f"{path}: {len(getattr(self, kind))} rows for {len(store)} frames; remove it and run 01 again")

    def clip_means(self, kind: str) -> np.ndarray:
        """(C, D) float32: the mean of one kind of feature over each clip."""
        clips = self.store.clips
        sums = [np.asarray(getattr(self, kind)[self.store.frames(c)], np.float32).mean(0) for c in range(len(clips))]
        return np.stack(sums)

    def windows(self, rows: np.ndarray, kinds: tuple, length: int, reach=None) -> list[torch.Tensor]:
        """Features around frames, held at the ends of their clips.

        Args:
            rows: (...) frame rows, the middle of each window. kinds: which features. length: T, odd.
            reach: (...) or broadcastable; frames farther from the middle repeat the last within reach (None: all are shown).

        Returns:
            One (..., T, D) float32 tensor per kind.
        """
        clips = self.store.clips
        starts = clips["start"].to_numpy()
        clip = np.searchsorted(starts, rows, side="right") - 1
        ends = starts + clips["num_frames"].to_numpy() - 1
        steps = np.arange(length) - length // 2
        if reach is not None:
            steps = np.clip(steps, -np.asarray(reach)[..., None], np.asarray(reach)[..., None])
        index = np.asarray(rows)[..., None] + steps
        index = np.clip(index, starts[clip][..., None], ends[clip][..., None])
        return [torch.from_numpy(np.asarray(getattr(self, kind)[index], np.float32)) for kind in kinds]
