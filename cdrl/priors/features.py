"""What the frozen priors say of every frame of a crop store, computed once, kept under what it was made from.

A features folder holds one file for each kind, KIND-PRIOR-CLIPS.safetensors: PRIOR stands for the prior's name, layer, settings
and the sha256 of its weights, CLIPS for the content of all clips. `index.json` says which files belong to the store. Another prior
or corpus has other names, so that nothing stale is ever read, and a clip that some file of the same prior holds is not computed again.
"""

import json
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from cdrl.core.devices import pick_device
from cdrl.core.errors import InputError
from cdrl.core.files import exclusive, read_json, write_json
from cdrl.corpora import batches
from cdrl.corpora.fingerprints import clip_fingerprints
from cdrl.corpora.store import Store
from cdrl.media.audio import AUDIO_RATE
from cdrl.priors.audio import audio_prior
from cdrl.priors.feature_files import FeatureWriter, digest, open_features
from cdrl.priors.language import LanguagePrior
from cdrl.priors.vision import VisionPrior

KINDS = ("face", "mouth", "language", "audio")
SCHEMA_VERSION = (
    1  # raised where a view or a window changes, so that features kept from before are made anew
)
GROUP = 2048  # frames between two marks of what is done
SECONDS = 60  # of sound heard at once


def extract(
    store: Store,
    out: Path,
    audio="embedded",
    language="embedded",
    batch: int = 256,
    vision=("face_backbone", "mouth_backbone"),
    device: str = "auto",
    shared: Path | None = None,
) -> "Features":
    """Run the priors over a store; what is known is not computed again, and an interrupted run goes on.

    Args:
        store: crops and sound. out: folder of the features. batch: frames at once.
        audio, language, vision: priors, or names of those that need no settings; vision: names of a face and a mouth backbone.
        device: `auto`, `cpu`, `cuda`: half precision inside on a GPU, single on the CPU. shared: folder of the files, where several
            runs share them (None: `out`).

    Returns:
        The features, memory-mapped. On two cores about 1,500 frames a second with the embedded priors.

    Raises:
        InputError: another process writes there, or a device that is not here.
    """
    out, device = Path(out), pick_device(device)
    folder = Path(shared or out)
    for place in (out, folder):
        place.mkdir(parents=True, exist_ok=True)
    seer = (VisionPrior(*vision) if isinstance(vision, (tuple, list)) else vision).to(device)
    reader = (LanguagePrior(language) if isinstance(language, str) else language).to(device)
    heard = audio_prior(audio, device=str(device)) if isinstance(audio, str) else audio
    made_by = dict(zip(("face", "mouth"), seer.identity, strict=True)) | {"audio": heard.identity}
    # The embedded CLIP's image tower is the face backbone, so the two are one file.
    alias = reader.embedded and isinstance(seer, VisionPrior)
    if not alias:
        made_by["language"] = reader.identity
    prints = clip_fingerprints(store)
    paths = {
        kind: folder / f"{_stem(kind, prior)}-{digest(prints[_part(kind)])}.safetensors"
        for kind, prior in made_by.items()
    }
    with exclusive(folder):
        missing = [kind for kind in made_by if not paths[kind].exists()]
        widths = _widths(store, seer, reader, heard, missing, device)
        writers = {
            kind: FeatureWriter(
                paths[kind],
                prints[_part(kind)],
                store.clips["num_frames"].to_numpy(),
                widths[kind],
                made_by[kind],
            )
            for kind in missing
        }
        taken = {
            kind: writer.take(folder, f"{_stem(kind, made_by[kind])}-*.safetensors")
            for kind, writer in writers.items()
        }
        if any(taken.values()):
            print(
                f"{out}: known from before, clips: "
                + ", ".join(f"{kind} {count}" for kind, count in taken.items()),
                flush=True,
            )
        _see(
            store,
            {kind: writer for kind, writer in writers.items() if kind != "audio"},
            seer,
            reader,
            batch,
            device,
        )
        if "audio" in writers:
            _hear(store, writers["audio"], heard)
        for writer in writers.values():
            writer.finish()
    index = {
        kind: {"file": path.name if folder == out else str(path.resolve()), "prior": made_by[kind]}
        for kind, path in paths.items()
    }
    index |= {"language": index["face"]} if alias else {}
    write_json(
        out / "index.json", index | {"names": {"vision": seer.name, "language": reader.name}}
    )
    return Features(store, out)


def _part(kind: str) -> str:
    return "audio" if kind == "audio" else "visual"


def _stem(kind: str, prior: dict) -> str:
    return f"{kind}-{digest([SCHEMA_VERSION, prior])}"


@torch.no_grad()
def _widths(
    store: Store, seer, reader, heard, missing: list, device: torch.device
) -> dict[str, int]:
    """How long each kind's features are: asked of one grey frame and a second of silence."""
    grey, box = (
        torch.full((1, 3, *store.face.shape[1:3]), 0.5, device=device),
        torch.tensor([[0.25, 0.6, 0.75, 0.93]], device=device),
    )
    found = (
        dict(zip(("face", "mouth"), seer(grey, box), strict=True))
        if {"face", "mouth"} & set(missing)
        else {}
    )
    if "language" in missing:
        found["language"] = reader.image_features(grey)
    if "audio" in missing:
        found["audio"] = heard(np.zeros(AUDIO_RATE, np.float32), 1, 25.0)
    return {kind: value.shape[1] for kind, value in found.items()}


def _see(store: Store, writers: dict, seer, reader, batch: int, device: torch.device) -> None:
    """Face, mouth and language features of the clips that any of the writers lacks."""
    todo = [
        clip
        for clip in range(len(store.clips))
        if not all(writer.done[clip] for writer in writers.values())
    ]
    boxes, lengths = torch.from_numpy(store.mouth_boxes()), store.clips["num_frames"].to_numpy()
    with tqdm(
        total=int(lengths[todo].sum()),
        desc="features",
        unit="frame",
        mininterval=2,
        disable=not todo,
    ) as bar:
        for group in _groups(todo, lengths, GROUP):
            rows = np.concatenate([np.arange(len(store))[store.frames(clip)] for clip in group])
            found = {kind: [] for kind in writers}
            for part in np.array_split(rows, -(-len(rows) // batch)):
                crops = batches.load_images(store, part).to(device)
                with (
                    torch.no_grad(),
                    torch.autocast(device.type, torch.float16, enabled=device.type == "cuda"),
                ):
                    seen = {}
                    if {"face", "mouth"} & set(writers):
                        seen = dict(
                            zip(("face", "mouth"), seer(crops, boxes[part].to(device)), strict=True)
                        )
                    if "language" in writers:
                        seen["language"] = reader.image_features(crops)
                for kind in writers:
                    found[kind].append(seen[kind].half().cpu().numpy())
            for kind, writer in writers.items():
                writer.write(group, np.concatenate(found[kind]))
            bar.update(len(rows))


def _hear(store: Store, writer: FeatureWriter, heard) -> None:
    """Audio features of the clips that the writer lacks, clips of like length together."""
    clips = store.clips
    samples = clips["audio_samples"].to_numpy()
    todo = sorted(np.flatnonzero(writer.done == 0), key=lambda clip: samples[clip])
    with tqdm(
        total=round(samples[todo].sum() / AUDIO_RATE),
        desc="sound",
        unit="s",
        mininterval=2,
        disable=not todo,
    ) as bar:
        for group in _groups(todo, samples, SECONDS * AUDIO_RATE):
            given = [
                (store.sound(c), int(clips["num_frames"][c]), float(clips["frame_rate"][c]))
                for c in group
            ]
            writer.write(
                group,
                np.concatenate([found.half().numpy() for found in heard.extract_clips(given)]),
            )
            bar.update(round(samples[group].sum() / AUDIO_RATE))


def _groups(clips: list, sizes: np.ndarray, limit: int):
    """Clips in turn, in groups that hold `limit` together or are one clip."""
    group, held = [], 0
    for clip in clips:
        if group and held + sizes[clip] > limit:
            yield group
            group, held = [], 0
        group.append(int(clip))
        held += sizes[clip]
    if group:
        yield group


class Features:
    """A store's prior features.

    Attributes:
        store: the crops they were made from. face (N, 256), mouth (N, 128), language (N, L), audio (N, A): float16, memory-mapped.
        priors: kind -> what made it: name, sha256 of its weights, settings. names: of the vision and the language prior.

    Raises:
        InputError: features missing, or of other clips than the store's.
    """

    def __init__(self, store: Store, folder: Path):
        self.store, self.folder = store, Path(folder)
        index = self.folder / "index.json"
        if not index.exists():
            older = (
                "; the plain .npy of an earlier version do not say what they were made from"
                if any(self.folder.glob("*.npy"))
                else ""
            )
            raise InputError(
                f"{index}: not extracted yet; run notebook 01 (or `cdrl run`) first{older}"
            )
        found, prints = read_json(index), clip_fingerprints(store)
        self.priors, self.names = {kind: found[kind]["prior"] for kind in KINDS}, found["names"]
        for kind in KINDS:
            path = self.folder / found[kind]["file"]
            arrays = open_features(path)
            if arrays["clips"].tobytes().hex() != "".join(prints[_part(kind)]) or len(
                arrays["features"]
            ) != len(store):
                raise InputError(
                    f"{path}: made from other clips than {store.path} holds now; run notebook 01 again"
                )
            if json.loads(arrays["prior"]) != self.priors[kind]:
                raise InputError(
                    f"{path}: made by another prior than {index} says; run notebook 01 again"
                )
            setattr(self, kind, arrays["features"])

    def clip_means(self, kind: str) -> np.ndarray:
        """(C, D) float32: the mean of one kind of feature over each clip."""
        clips = self.store.clips
        sums = [
            np.asarray(getattr(self, kind)[self.store.frames(c)], np.float32).mean(0)
            for c in range(len(clips))
        ]
        return np.stack(sums)

    def windows(
        self, rows: np.ndarray, kinds: tuple, length: int, reach=None
    ) -> list[torch.Tensor]:
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
        return [
            torch.from_numpy(np.asarray(getattr(self, kind)[index], np.float32)) for kind in kinds
        ]
