"""The edit itself: a clip or a video file and an emotion in, the same with that emotion out, steady and in bounded memory."""

import math
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from tqdm.auto import tqdm

from cdrl.core.checkpoint import load_card, load_weights
from cdrl.core.errors import InputError
from cdrl.core.settings import stage_folder
from cdrl.core.stage import made_with, run_of
from cdrl.core.vocabulary import EMOTIONS, emotion_index
from cdrl.corpora.adapters import crema_d_labels
from cdrl.corpora.samples import ingest
from cdrl.corpora.store import Store
from cdrl.editing.control import curve_at, describe_mixture, intensity_curve
from cdrl.editors.actions import RENDERER, ActionEditor, load_renderer
from cdrl.editors.image import fit_person
from cdrl.editors.rendered import load_manipulator
from cdrl.media.decoding import mean_rate
from cdrl.media.encoding import SYNTHETIC, write_edit
from cdrl.media.faces import CROP, Alignment, align, crop, paste
from cdrl.media.video import read_metadata, read_video_stream
from cdrl.models.image_editor import ImageEditor, apply_fields
from cdrl.representation.guidance import Guidance

IMAGE_EDITOR = "generator"  # the committed image host: what a fit begins with; all else is edited by facial actions where nothing is named
# The fields are averaged over neighbouring frames with these weights: the edit does not tremble.
SMOOTHING = (1, 4, 6, 4, 1)
CHUNK = 24  # frames edited at once; fewer where frames are so large that these would hold more than
HELD_BYTES = 200 << 20
TRAINED_RATE = 25.0  # Hz
SIZES = (64, 320)  # pixels of the crop that is edited


def load_editor(where: str | Path = RENDERER) -> ImageEditor | ActionEditor:
    """A generator by name of its weights, by path, or by a run's folder (its CDRL variant); `action_renderer`: an `ActionEditor`.

    Returns:
        Frozen, in eval mode; `generator.emotions` lists what it learnt, `generator.crop` says how the faces were cropped,
        `generator.run` which run's encoders guided it (None: the committed ones).

    Raises:
        InputError: where there is none.
    """
    folder = Path(where)
    if folder.is_dir():
        places = (folder, folder / "cdrl", stage_folder(folder, "generator") / "cdrl")
        found = [place for place in places if (place / "model.safetensors").exists()]
        if not found:
            raise InputError(
                f"{folder}: no trained generator here; run notebook 05 (or `cdrl run`) first, or name weights"
            )
        where = found[0] / "model.safetensors"
    card = load_card(str(where))
    if "host" in card:  # a renderer of facial actions, and the host whose edits it draws
        generator = ActionEditor(load_manipulator(card["host"]), load_renderer(str(where)))
    else:
        generator = load_weights(str(where), ImageEditor(**card["model"]))
    generator.emotions = tuple(card.get("emotions", EMOTIONS))
    generator.crop = made_with(where, "corpus", "crop", "aligned")
    generator.run = run_of(where, "emotion")
    return generator


def emotion_weights(
    emotion: str | dict,
    generator: ImageEditor | None = None,
    source_emotion: str | dict | None = None,
) -> torch.Tensor:
    """An emotion, or a mixture such as {"happy": 0.7, "surprised": 0.3}, as (1, 8) weights that sum to 1.

    With `source_emotion`, the emotion of the source, (2, 8): the edit then is the difference of the fields of both, so that an emotion
    edited to itself changes nothing.

    Raises:
        InputError: unknown emotions, ones that this generator never learnt, weights that are not positive.
    """
    if source_emotion is not None:
        return torch.cat(
            [emotion_weights(emotion, generator), emotion_weights(source_emotion, generator)]
        )
    mixture = {emotion: 1.0} if isinstance(emotion, str) else dict(emotion)
    known = getattr(generator, "emotions", EMOTIONS)
    weights = torch.zeros(1, len(EMOTIONS))
    for name, weight in mixture.items():
        index = emotion_index(name)
        if name not in known:
            raise InputError(
                f"emotion {name!r}: this generator learnt {', '.join(known)}; train one on clips that show it"
            )
        if not weight > 0:
            raise InputError(
                f"emotion {name!r} has weight {weight}: weights of a mixture are above 0"
            )
        weights[0, index] = float(weight)
    return weights / weights.sum()


def edit_clip(
    generator: ImageEditor,
    crops: np.ndarray,
    emotion: str | dict,
    intensity: float | np.ndarray = 1.0,
    frame_rate: float = TRAINED_RATE,
    source_emotion: str | dict | None = None,
) -> np.ndarray:
    """Edit aligned crops.

    Args:
        crops: (T, H, H, 3) uint8 RGB, H >= 64. emotion: a name, or a mixture {name: weight}. source_emotion: that of the source, where
            the edit shall start from there (see `emotion_weights`).
        intensity: 0 to 1.5, one number or (T,); 0 gives the crops themselves. frame_rate: Hz.

    Returns:
        (T, H, H, 3) uint8.
    """
    curve, weights = (
        intensity_curve(intensity, len(crops)),
        emotion_weights(emotion, generator, source_emotion),
    )
    return np.stack(list(edit_stream(generator, crops, weights, curve, frame_rate)))


def edit_stream(
    generator: ImageEditor,
    crops: Iterable[np.ndarray],
    weights: torch.Tensor,
    curve: np.ndarray,
    frame_rate: float = TRAINED_RATE,
    chunk: int | None = None,
) -> Iterator[np.ndarray]:
    """`edit_clip` for any length: takes crops one by one, holds some `CHUNK` of them, yields them edited in the same order.

    Args:
        crops: (H, W, 3) uint8 each. weights: (1, 8), or (2, 8) with the source's. curve: (T,) intensity. frame_rate: Hz.
        chunk: frames edited at once, in place of `CHUNK`.
    """
    chunk = chunk or CHUNK
    stride = max(1, round(generator.stride * frame_rate / TRAINED_RATE))
    neighbours = (
        stride * getattr(generator, "reach", generator.stride) / generator.stride
        if generator.stride
        else 0
    )
    reach = math.ceil(neighbours) + len(SMOOTHING) // 2
    held, first, done = [], 0, 0  # crops from number `first` on; `done` of all are edited
    for crop_ in chain(crops, [None]):
        held += [crop_] if crop_ is not None else []
        ready = first + len(held) - (reach if crop_ is not None else 0)
        if ready - done < (chunk if crop_ is not None else 1):
            continue
        yield from _edit_part(
            generator,
            np.stack(held),
            weights,
            curve[first : first + len(held)],
            done - first,
            ready - first,
            stride,
        )
        done = ready
        keep = max(0, done - reach - first)
        held, first = held[keep:], first + keep


@torch.no_grad()
def _edit_part(generator, crops, weights, curve, low: int, high: int, stride: int) -> np.ndarray:
    """Frames low..high of a window of crops (T, H, H, 3) -> (high - low, H, H, 3) uint8."""
    frames = torch.from_numpy(crops).permute(0, 3, 1, 2)[None].float() / 255
    around = len(SMOOTHING) // 2
    start, stop = max(0, low - around), min(len(crops), high + around)
    both = len(weights)
    fields = generator.fields(
        frames.expand(both, -1, -1, -1, -1),
        weights,
        torch.tensor(np.array(curve)).expand(both, -1),
        slice(start, stop),
        stride,
    )
    fields = [field[0] - field[1] if both == 2 else field[0] for field in fields]
    fields = [smooth(field)[low - start : high - start] for field in fields]
    zero = torch.tensor(curve[low:high] == 0)
    fields = [field.masked_fill(zero[:, None, None, None], 0) for field in fields]
    out = apply_fields(frames[0, low:high], *fields)
    return (out * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()


def smooth(field: torch.Tensor) -> torch.Tensor:
    """(T, C, h, w) averaged over time with `SMOOTHING`, the ends repeated; a field that stays keeps its value."""
    reach = len(SMOOTHING) // 2
    kernel = field.new_tensor(SMOOTHING) / sum(SMOOTHING)
    flat = field.flatten(1).T[:, None]
    return F.conv1d(F.pad(flat, (reach, reach), mode="replicate"), kernel.view(1, 1, -1))[
        :, 0
    ].T.view_as(field)


def edit_video(
    source: Path,
    emotion: str | dict,
    out: Path,
    intensity: float | np.ndarray = 1.0,
    generator: str | Path | ImageEditor | ActionEditor = RENDERER,
    progress: bool = True,
    source_emotion: str | dict | None = None,
) -> Path:
    """Edit a video file: face found, cropped, edited, put back; sound, length and frame rate stay those of the source.

    Args:
        source: any video of one face. emotion: a name, or a mixture {name: weight}. out: an .mp4.
        intensity: 0 to 1.5: one number; (T,), one per frame; or (K, 2), a curve of seconds and intensities, linear in between.
        generator: name of weights, run folder, or the network itself. source_emotion: the emotion of the source, where it is known (see
            `emotion_weights`).

    Returns:
        `out`. Its metadata says that it is synthetic.

    Raises:
        InputError: unknown emotion, intensity outside 0 to 1.5, a file that cannot be read or shows no face, an `out` that
            somebody else made; before anything is written.
    """
    source, out, times = Path(source), Path(out), []
    generator = generator if isinstance(generator, nn.Module) else load_editor(generator)
    weights = emotion_weights(emotion, generator, source_emotion)
    if np.ndim(intensity) == 2:
        (
            intensity_curve(np.asarray(intensity)[:, 1], len(intensity)),
            curve_at(intensity, np.zeros(1)),
        )
    elif not np.ndim(intensity):
        intensity_curve(intensity, 1)
    refuse_foreign(source, out)
    looked = tqdm(
        _frames(source, times),
        desc="find the face",
        unit="frame",
        mininterval=2,
        disable=not progress,
    )
    alignment = align(looked, name=str(source), crop=getattr(generator, "crop", "aligned"))
    if np.ndim(intensity) == 2:
        intensity = curve_at(intensity, np.array(times) - times[0])
    curve = intensity_curve(intensity, len(times))
    pictures = edited_frames(
        generator, _frames(source, []), alignment, weights, curve, mean_rate(times, TRAINED_RATE)
    )
    names = describe_mixture(emotion)
    shown = tqdm(
        pictures,
        total=len(alignment),
        desc=f"edit to {names}",
        unit="frame",
        mininterval=2,
        disable=not progress,
    )
    write_edit(
        source,
        shown,
        out,
        {"title": f"{source.stem} edited to {names}, intensity {float(np.mean(curve)):.2g}"},
    )
    return out


def refuse_foreign(source: Path, out: Path) -> None:
    """Refuses an `out` that is the source, or a file that this kit did not make; its own older edits are replaced.

    Raises:
        InputError: saying which.
    """
    if not out.exists():
        return
    if out.samefile(source):
        raise InputError(f"{out}: is the source itself; give another name to --out")
    try:
        own = read_metadata(out).get("comment") == SYNTHETIC
    except InputError:
        own = False
    if not own:
        raise InputError(
            f"{out}: is there already and is no edit of this kit; give another --out, nothing is overwritten"
        )


def fit_to_folder(
    generator: ImageEditor,
    folder: Path,
    source: Path,
    emotion: str,
    steps: int = 120,
    guidance: str | Path | None = None,
) -> ImageEditor:
    """Fit to a person's other clips, whose names say the emotion as CREMA-D's do; a minute or two.

    Clips of the emotion that is asked for, and the source itself, are left out; so are files that cannot be used.

    Args:
        guidance: the run whose encoders guide the fit; None: those of the generator's own run, of a generator of no run the
            committed ones.

    Raises:
        InputError: where nothing is left to learn from, encoders of other crops than the generator's, and an `ActionEditor`.
    """
    if isinstance(generator, ActionEditor):
        raise InputError(
            "a fit fine-tunes the image host; the neural renderer of facial actions takes none: leave --fit out, or --generator"
        )
    where, crop = guidance or getattr(generator, "run", None), getattr(generator, "crop", "aligned")
    guide = Guidance(where)
    if guide.crop != crop:
        raise InputError(
            f"the generator learnt {crop} crops, the guidance ({where or 'the committed encoders'}) {guide.crop} ones; a fit needs the "
            f"same: name a run with corpus.crop={crop}, --guidance RUN"
        )
    folder, usable = Path(folder), []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            if crema_d_labels(path)["emotion"] != emotion and not path.samefile(source):
                usable.append(path)
        except InputError:
            continue
    if not usable:
        raise InputError(
            f"{folder}: no clip to fit to; give a folder of that person's clips named as CREMA-D's (1001_DFA_ANG_XX.flv), "
            f"other than the source and than {emotion}"
        )
    with TemporaryDirectory() as kept:
        ingest(usable, Path(kept) / "person", crop=crop)
        return fit_person(
            generator, Store(Path(kept) / "person"), guide, (emotion,), (emotion,), steps
        )[0]


def edited_frames(
    generator: ImageEditor,
    frames: Iterable[np.ndarray],
    alignment: Alignment,
    weights: torch.Tensor,
    curve: np.ndarray,
    frame_rate: float = TRAINED_RATE,
) -> Iterator[np.ndarray]:
    """Full frames (H, W, 3), one by one, with the edited face put back; those of intensity 0 are the source's, to the bit."""
    size, frames, waiting = (
        crop_size(alignment),
        iter(frames),
        deque(),
    )  # not `tee`: that keeps 57 frames however few are needed
    first = next(frames)
    chunk = min(CHUNK, max(4, HELD_BYTES // first.nbytes))

    def crops():
        for k, frame in enumerate(frames):
            waiting.append(frame)
            yield crop([frame], alignment.part(k, k + 1), size)[0]

    frames = chain([first], frames)
    del first
    for k, face in enumerate(edit_stream(generator, crops(), weights, curve, frame_rate, chunk)):
        frame = waiting.popleft()
        yield frame if curve[k] == 0 else paste([frame], face[None], alignment.part(k, k + 1))[0]


def crop_size(alignment: Alignment) -> int:
    """Pixels a side that lose nothing: the face's own size in the frames (median), a multiple of 16 within `SIZES`."""
    scale = np.median(np.linalg.norm(alignment.transforms[:, :, :2], axis=1).max(axis=1))
    return int(np.clip(np.ceil(scale * CROP / 16) * 16, *SIZES))


def _frames(source: Path, times: list[float]) -> Iterator[np.ndarray]:
    for part in read_video_stream(source, frame_rate=None, chunk=1, times=times):
        yield from part
