"""Features: what the frozen priors extract from every frame of a crop store, computed once.

A features folder has one file for each kind, KIND-PRIOR-CLIPS.safetensors. PRIOR stands for the
prior's name, layer, settings and the sha256 of its weights, CLIPS for the content of all clips.
`index.json` says which files belong to the store. Another prior or corpus has other names, so that
nothing outdated is ever read, and a clip that some file of the same prior has is not computed
again.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from tqdm.auto import tqdm

from cdrl.core.devices import pick_device
from cdrl.core.errors import InputError
from cdrl.core.files import damaged, exclusive, read_json, write_json
from cdrl.corpora.batches import load_images
from cdrl.corpora.fingerprints import clip_fingerprints
from cdrl.corpora.store import Store
from cdrl.media.audio import AUDIO_RATE
from cdrl.priors.audio import AudioPrior, SoundClip, audio_prior
from cdrl.priors.feature_files import FeatureWriter, digest, open_feature_file
from cdrl.priors.iresnet import ReleasedVision
from cdrl.priors.language import LanguagePrior
from cdrl.priors.vision import VisionPrior, vision_prior

KINDS = ("face", "mouth", "language", "audio")
# Raised where a view or a window changes, so that features of before are computed again.
SCHEMA_VERSION = 1
GROUP = 2048  # frames between two marks of what is done
GROUP_SECONDS = 60  # of sound at once
# What the lengths of features are measured on: a grey image with this mouth box.
_PROBE_BOX = (0.25, 0.6, 0.75, 0.93)


@dataclass(frozen=True)
class Priors:
    """The priors that make features.

    Args:
        vision: gives face and mouth features.
        language: its image features.
        audio: gives features of the sound.
        device: of vision and language.
    """

    vision: VisionPrior | ReleasedVision
    language: LanguagePrior
    audio: AudioPrior
    device: torch.device

    @property
    def shares_face(self) -> bool:
        """Whether the language features are the face features, so that one file serves both.

        The embedded CLIP's image tower is the face backbone.
        """
        return self.language.embedded and isinstance(self.vision, VisionPrior)

    def identities(self) -> dict[str, dict]:
        """Kind of feature -> what makes it: name, sha256 of the weights, settings."""
        face, mouth = self.vision.identity
        identities = {"face": face, "mouth": mouth, "audio": self.audio.identity}
        if not self.shares_face:
            identities["language"] = self.language.identity

        return identities


def extract(
    store: Store,
    out: Path,
    audio: AudioPrior | str = "embedded",
    language: LanguagePrior | str = "embedded",
    batch: int = 256,
    vision: VisionPrior | ReleasedVision | Sequence[str] = ("face_backbone", "mouth_backbone"),
    device: str = "auto",
    shared: Path | None = None,
) -> "Features":
    """Run the priors over a store; what is known is not computed again, a killed run goes on.

    Args:
        store: crops and sound.
        out: folder of the features.
        audio: prior, or name of one that needs no settings.
        language: prior, or name of one that needs no settings.
        batch: frames at once.
        vision: prior, or names of a face and a mouth backbone.
        device: `auto`, `cpu`, `cuda`; half precision inside on a GPU, single on the CPU.
        shared: folder of the files, where several runs share them (None: `out`).

    Returns:
        The features, memory-mapped. About 1,500 frames a second on two cores, with the embedded
        priors.

    Raises:
        InputError: another process writes there, or a device that is not here.
    """
    out = Path(out)
    folder = Path(shared or out)
    where = pick_device(device)
    out.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    priors = _load_priors(vision, language, audio, where)
    paths = _feature_paths(folder, priors, store)

    with exclusive(folder):
        writers = _open_writers(store, priors, paths)
        _copy_known(writers, priors, folder, out)
        visual_writers = {kind: writer for kind, writer in writers.items() if kind != "audio"}
        _extract_visual(store, visual_writers, priors, batch)
        if "audio" in writers:
            _extract_audio(store, writers["audio"], priors.audio)
        for writer in writers.values():
            writer.finish()

    _write_index(out, folder, paths, priors)

    return Features(store, out)


def _load_priors(
    vision: VisionPrior | ReleasedVision | Sequence[str],
    language: LanguagePrior | str,
    audio: AudioPrior | str,
    device: torch.device,
) -> Priors:
    """Load those that are given by name."""
    if not isinstance(vision, nn.Module):
        vision = vision_prior(vision)
    if isinstance(language, str):
        language = LanguagePrior(language)
    if isinstance(audio, str):
        audio = audio_prior(audio, device=str(device))

    return Priors(vision.to(device), language.to(device), audio, device)


def _feature_paths(folder: Path, priors: Priors, store: Store) -> dict[str, Path]:
    """Kind of feature -> its file."""
    fingerprints = clip_fingerprints(store)

    paths = {}
    for kind, identity in priors.identities().items():
        stem = _file_stem(kind, identity)
        clips = digest(fingerprints[_modality(kind)])
        paths[kind] = folder / f"{stem}-{clips}.safetensors"

    return paths


def _modality(kind: str) -> str:
    return "audio" if kind == "audio" else "visual"


def _file_stem(kind: str, identity: dict) -> str:
    return f"{kind}-{digest([SCHEMA_VERSION, identity])}"


def _open_writers(store: Store, priors: Priors, paths: dict[str, Path]) -> dict[str, FeatureWriter]:
    """Open a writer for each kind of feature whose file is missing."""
    missing = [kind for kind, path in paths.items() if not path.exists()]
    widths = _feature_widths(store, priors, missing)
    fingerprints = clip_fingerprints(store)
    lengths = store.clips["num_frames"].to_numpy()
    identities = priors.identities()

    writers = {}
    for kind in missing:
        clips = fingerprints[_modality(kind)]
        writers[kind] = FeatureWriter(paths[kind], clips, lengths, widths[kind], identities[kind])

    return writers


@torch.no_grad()
def _feature_widths(store: Store, priors: Priors, kinds: list[str]) -> dict[str, int]:
    """Length of each kind of feature, from one grey image and a second of silence."""
    height, width = store.face.shape[1:3]
    grey = torch.full((1, 3, height, width), 0.5, device=priors.device)
    box = torch.tensor([_PROBE_BOX], device=priors.device)

    widths = {}
    if "face" in kinds or "mouth" in kinds:
        face, mouth = priors.vision(grey, box)
        widths["face"] = face.shape[1]
        widths["mouth"] = mouth.shape[1]

    if "language" in kinds:
        language = priors.language.image_features(grey)
        widths["language"] = language.shape[1]

    if "audio" in kinds:
        silence = np.zeros(AUDIO_RATE, np.float32)
        audio = priors.audio(silence, 1, 25.0)
        widths["audio"] = audio.shape[1]

    return widths


def _copy_known(writers: dict[str, FeatureWriter], priors: Priors, folder: Path, out: Path) -> None:
    """Copy features of clips that other files of the same priors have, and print how many."""
    identities = priors.identities()
    counts = {}
    for kind, writer in writers.items():
        pattern = f"{_file_stem(kind, identities[kind])}-*.safetensors"
        counts[kind] = writer.copy_known(folder, pattern)

    if any(counts.values()):
        listed = ", ".join(f"{kind} {count}" for kind, count in counts.items())
        print(f"{out}: reused from earlier files, clips: {listed}", flush=True)


def _extract_visual(
    store: Store, writers: dict[str, FeatureWriter], priors: Priors, batch: int
) -> None:
    """Write face, mouth and language features of the clips that any of the writers lacks."""
    clips = []
    for clip in range(len(store.clips)):
        if not all(writer.done[clip] for writer in writers.values()):
            clips.append(clip)

    boxes = torch.from_numpy(store.mouth_boxes())
    lengths = store.clips["num_frames"].to_numpy()
    total = int(lengths[clips].sum())
    with _progress("features", "frame", total, hidden=not clips) as bar:
        for group in _groups(clips, lengths, GROUP):
            rows = _rows_of_clips(store, group)
            # Threads work on batches of their own, and together on as many frames.
            size = max(batch // _num_threads(priors), 1)
            batches = np.array_split(rows, ceil(len(rows) / size))
            features = _features_of_rows(store, batches, boxes, priors, set(writers))

            for kind, writer in writers.items():
                writer.write(group, features[kind])
            bar.update(len(rows))


def _rows_of_clips(store: Store, clips: list[int]) -> np.ndarray:
    all_rows = np.arange(len(store))
    rows = [all_rows[store.frames(clip)] for clip in clips]
    return np.concatenate(rows)


def _features_of_rows(
    store: Store, batches: list[np.ndarray], boxes: torch.Tensor, priors: Priors, kinds: set[str]
) -> dict[str, np.ndarray]:
    """Kind of feature -> (N, D) float16 of batches of frames."""

    def extract_batch(rows: np.ndarray) -> dict[str, np.ndarray]:
        crops = load_images(store, rows).to(priors.device)
        crop_boxes = boxes[rows].to(priors.device)
        features = _visual_features(crops, crop_boxes, priors, kinds)
        return {kind: features[kind].half().cpu().numpy() for kind in kinds}

    parts = _map_in_threads(extract_batch, batches, _num_threads(priors))
    return {kind: np.concatenate([part[kind] for part in parts]) for kind in kinds}


def _num_threads(priors: Priors) -> int:
    """Batches that are computed at once: those of a GPU come one after the other."""
    return torch.get_num_threads() if priors.device.type == "cpu" else 1


def _map_in_threads(function: Callable[[Any], Any], items: list, threads: int) -> list[Any]:
    """The results of a function, in order.

    A thread a batch is faster than all threads for each layer of a small network.
    """
    if threads == 1:
        return [function(item) for item in items]
    try:
        with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return list(pool.map(function, items))
    finally:
        torch.set_num_threads(threads)


@torch.no_grad()
def _visual_features(
    crops: torch.Tensor, boxes: torch.Tensor, priors: Priors, kinds: set[str]
) -> dict[str, torch.Tensor]:
    """Kind of feature -> (B, D), in half precision inside on a GPU."""
    features = {}
    on_gpu = priors.device.type == "cuda"
    with torch.autocast(priors.device.type, torch.float16, enabled=on_gpu):
        if kinds & {"face", "mouth"}:
            face, mouth = priors.vision(crops, boxes)
            features["face"] = face
            features["mouth"] = mouth
        if "language" in kinds:
            features["language"] = priors.language.image_features(crops)

    return features


def _extract_audio(store: Store, writer: FeatureWriter, prior: AudioPrior) -> None:
    """Write audio features of the clips that the writer lacks, clips of like length together."""
    samples = store.clips["audio_samples"].to_numpy()
    clips = np.flatnonzero(writer.done == 0).tolist()
    clips.sort(key=lambda clip: samples[clip])
    seconds = samples / AUDIO_RATE
    total = round(seconds[clips].sum())

    with _progress("sound", "s", total, hidden=not clips) as bar:
        for group in _groups(clips, samples, GROUP_SECONDS * AUDIO_RATE):
            sounds = [_sound_clip(store, clip) for clip in group]
            features = prior.extract_clips(sounds)

            rows = torch.cat(features).half()
            writer.write(group, rows.numpy())
            bar.update(round(seconds[group].sum()))


def _sound_clip(store: Store, clip: int) -> SoundClip:
    num_frames = int(store.clips["num_frames"][clip])
    frame_rate = float(store.clips["frame_rate"][clip])
    return store.sound(clip), num_frames, frame_rate


def _progress(title: str, unit: str, total: int, hidden: bool) -> tqdm:
    return tqdm(total=total, desc=title, unit=unit, mininterval=2, disable=hidden)


def _groups(clips: Sequence[int], sizes: np.ndarray, limit: int) -> Iterator[list[int]]:
    """Give clips in order, in groups that have `limit` together or are one clip."""
    group: list[int] = []
    group_size = 0
    for clip in clips:
        if group and group_size + sizes[clip] > limit:
            yield group
            group = []
            group_size = 0

        group.append(int(clip))
        group_size += sizes[clip]

    if group:
        yield group


def _write_index(out: Path, folder: Path, paths: dict[str, Path], priors: Priors) -> None:
    """Write which files belong to the store."""
    identities = priors.identities()
    index: dict[str, dict] = {}
    for kind, path in paths.items():
        file = path.name if folder == out else str(path.resolve())
        index[kind] = {"file": file, "prior": identities[kind]}

    if priors.shares_face:
        index["language"] = index["face"]

    index["names"] = {"vision": priors.vision.name, "language": priors.language.name}
    write_json(out / "index.json", index)


class Features:
    """The features of a store's frames.

    Args:
        store: the crops they were made from.
        folder: that `extract` wrote.

    Attributes:
        face: (N, 256) float16, memory-mapped.
        mouth: (N, 128) float16, memory-mapped.
        language: (N, L) float16, memory-mapped.
        audio: (N, A) float16, memory-mapped.
        priors: kind of feature -> what made it: name, sha256 of its weights, settings.
        names: of the vision and the language prior.

    Raises:
        InputError: features missing, or of other clips than the store's.
    """

    face: np.ndarray
    mouth: np.ndarray
    language: np.ndarray
    audio: np.ndarray

    def __init__(self, store: Store, folder: Path):
        self.store = store
        self.folder = Path(folder)
        index = self._read_index()
        self.priors = {kind: index[kind]["prior"] for kind in KINDS}
        self.names = index["names"]

        fingerprints = clip_fingerprints(store)
        for kind in KINDS:
            path = self.folder / index[kind]["file"]
            clips = fingerprints[_modality(kind)]
            array = self._open(path, self.priors[kind], clips)
            setattr(self, kind, array)

    def _read_index(self) -> dict[str, Any]:
        path = self.folder / "index.json"
        if path.exists():
            return self._check_index(path)
        hint = ""
        if any(self.folder.glob("*.npy")):
            hint = "; the plain .npy of an earlier version do not say what they were made from"
        raise InputError(f"{path}: not extracted yet; run notebook 01 (or `cdrl run`) first{hint}")

    def _check_index(self, path: Path) -> dict[str, Any]:
        """Read the index and check its form: for each kind the prior and the file."""
        remedy = "remove it and run notebook 01 again"
        fields: dict[str, type] = dict.fromkeys(KINDS, dict)
        index = read_json(path, fields=fields | {"names": dict}, remedy=remedy)
        for kind in KINDS:
            entry = index[kind]
            if not isinstance(entry.get("file"), str) or not isinstance(entry.get("prior"), dict):
                raise damaged(path, f"its {kind} has no file or no prior", remedy)
        return index

    def _open(self, path: Path, prior: dict, fingerprints: list[str]) -> np.ndarray:
        """Open one kind of feature, checked against the store's clips and the prior."""
        arrays = open_feature_file(path)
        same_clips = arrays["clips"].tobytes().hex() == "".join(fingerprints)
        if not same_clips or len(arrays["features"]) != len(self.store):
            raise InputError(
                f"{path}: made from other clips than {self.store.path} holds now; "
                "run notebook 01 again"
            )
        if json.loads(arrays["prior"]) != prior:
            index = self.folder / "index.json"
            raise InputError(
                f"{path}: made by another prior than {index} says; run notebook 01 again"
            )

        return arrays["features"]

    def clip_means(self, kind: str) -> np.ndarray:
        """Average one kind of feature over each clip: (C, D) float32."""
        array = getattr(self, kind)
        means = []
        for clip in range(len(self.store.clips)):
            rows = self.store.frames(clip)
            features = np.asarray(array[rows], np.float32)
            means.append(features.mean(0))

        return np.stack(means)

    def windows(
        self, rows: np.ndarray, kinds: Sequence[str], length: int, reach: np.ndarray | None = None
    ) -> list[torch.Tensor]:
        """Cut windows of features around frames; beyond the ends of a clip its last frame repeats.

        Args:
            rows: (...) rows of frames, the middle of each window.
            kinds: which features.
            length: T, odd.
            reach: (...) or broadcastable; frames farther from the middle repeat the last within
                reach (None: all frames are there).

        Returns:
            One (..., T, D) float32 tensor for each kind.
        """
        steps = np.arange(length) - length // 2
        if reach is not None:
            limit = np.asarray(reach)[..., None]
            steps = np.clip(steps, -limit, limit)

        clips = self.store.clips
        starts = clips["start"].to_numpy()
        ends = starts + clips["num_frames"].to_numpy() - 1
        clip = np.searchsorted(starts, rows, side="right") - 1

        index = np.asarray(rows)[..., None] + steps
        index = np.clip(index, starts[clip][..., None], ends[clip][..., None])

        windows = []
        for kind in kinds:
            features = np.asarray(getattr(self, kind)[index], np.float32)
            windows.append(torch.from_numpy(features))

        return windows
