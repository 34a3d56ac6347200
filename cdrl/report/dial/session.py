"""What the dial turns: clips of a run and of files, a generator, and what the run's guidance reads of an edit."""

import io
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import torch
from PIL import Image

from cdrl.core.errors import InputError
from cdrl.core.paths import run_path
from cdrl.core.results import read_results
from cdrl.core.settings import EmotionConfig, stage_folder
from cdrl.core.vocabulary import EMOTIONS, emotion_index
from cdrl.corpora import samples
from cdrl.corpora.store import Store
from cdrl.editing.pipeline import emotion_weights, load_editor
from cdrl.editors.actions import ActionEditor
from cdrl.media import faces
from cdrl.media.audio import AUDIO_RATE
from cdrl.media.video import read_video, video_facts
from cdrl.models.image_editor import ImageEditor
from cdrl.report.dial.low_rank import LowRankFields, edit_with_fields, low_rank_fields
from cdrl.report.ready import finished_stage
from cdrl.representation.guidance import CONTENT_MARGIN, Guidance
from cdrl.studio import corpus as studio
from cdrl.studio.acting import act

SIDE = 160  # pixels of the crops that are shown and edited
LONGEST = 10.0  # seconds of a clip
STUDIO_CLIPS = 10
COLUMNS = 8  # of the sheet that carries a clip's frames
BARS = 160  # of the waveform
UNFITTED = "not of the studio: the generator was not fitted to this person (cdrl edit --fit does), so expect little"
UNSEEN = "not of the studio: nothing that edits here ever saw a real face"


@dataclass(frozen=True, eq=False)  # a take is known by itself: banks are kept under it
class SourceClip:
    """One source clip as the dial shows it.

    Attributes:
        name: file or clip. note: what it is, in words. crops: (T, H, H, 3) uint8. frame_rate: Hz. sound: (S,) 16 kHz, or empty.
        box: (4,) the mouth in the crop, 0 to 1.
    """

    name: str
    note: str
    crops: np.ndarray
    frame_rate: float
    sound: np.ndarray
    box: np.ndarray

    def sheet(self, quality: int = 82) -> bytes:
        """All frames as one WebP, `COLUMNS` a row, row after row."""
        count, side = self.crops.shape[:2]
        rows = -(-count // COLUMNS)
        filled = np.concatenate([self.crops, np.repeat(self.crops[-1:], rows * COLUMNS - count, 0)])
        tiles = filled.reshape(rows, COLUMNS, side, side, 3).transpose(0, 2, 1, 3, 4)
        buffer = io.BytesIO()
        Image.fromarray(tiles.reshape(rows * side, COLUMNS * side, 3)).save(
            buffer, "WEBP", quality=quality
        )
        return buffer.getvalue()

    def heard(self) -> bytes:
        """The sound as an mp3; empty where nothing can be heard."""
        if not np.any(self.sound):
            return b""
        buffer = io.BytesIO()
        with av.open(buffer, "w", format="mp3") as container:
            stream = container.add_stream("libmp3lame", rate=AUDIO_RATE, layout="mono")
            frame = av.AudioFrame.from_ndarray(
                np.float32(self.sound)[None], format="fltp", layout="mono"
            )
            frame.sample_rate = AUDIO_RATE
            container.mux([*stream.encode(frame), *stream.encode(None)])
        return buffer.getvalue()

    def loudness(self) -> list[float]:
        """`BARS` heights of its waveform, 0 to 1."""
        if not np.any(self.sound):
            return []
        peaks = np.array([np.abs(part).max() for part in np.array_split(self.sound, BARS)])
        return np.round(peaks / peaks.max(), 2).tolist()


class Session:
    """A generator and a run's guidance before a row of clips; clips and fields are made when they are asked for, and kept.

    Attributes:
        names: of the clips that can be taken. emotions: what the generator learnt. references: names of the clips whose
            emotion can be taken. telling: numbers of those that a page shows where it cannot show all, strong ones first.
            given: whether somebody named them.

    Args:
        run: folder of a run. clip: a video file instead of its clips. references: video files beside its clips.
        generator: as `load_editor` takes it, in place of the run's own; `action_renderer` edits by facial actions.

    Raises:
        InputError: where the run is not there, not ready or of another version, or a file cannot be used.
    """

    def __init__(
        self,
        run,
        clip: Path | str | None = None,
        references=(),
        generator: Path | str | None = None,
    ):
        self.run = run_path(run)
        folder = finished_stage(
            self.run, "generator", "generator", ("cdrl/model.safetensors", "cdrl/model.json")
        )
        self.store = Store(stage_folder(self.run, "corpus") / "report")
        self.generator: ImageEditor | ActionEditor = load_editor(generator or folder)
        self.guidance = Guidance(self.run)
        if self.generator.crop != self.guidance.crop:
            raise InputError(
                f"{generator or folder}: edits {self.generator.crop} crops, {self.run} was made with corpus.crop={self.guidance.crop}; "
                f"leave it out, or take a run with corpus.crop={self.generator.crop}"
            )
        self.emotions = tuple(self.generator.emotions)
        config = read_results(self.run)["stages"].get("emotion", {}).get("config", {})
        self.temperature = config.get("temperature", EmotionConfig().temperature)
        chosen = _various(self.store)
        own = {self.store.clips.name[k]: lambda k=k: self._of_store(k) for k in chosen}
        framed = (
            self.generator.crop,
            UNSEEN if isinstance(self.generator, ActionEditor) else UNFITTED,
        )
        own |= {
            path.stem: lambda path=path: source_clip_from_file(path, *framed)
            for path in _real_clips()
        }
        given = [source_clip_from_file(Path(path), *framed) for path in references]
        only = [] if clip is None else [source_clip_from_file(Path(clip), *framed)]
        self.sources = {take.name: lambda take=take: take for take in only} or own
        self.shown = {take.name: lambda take=take: take for take in given} | own
        self.names, self.references = list(self.sources), list(self.shown)
        self.given = bool(given)
        moved = [n for n, k in enumerate(chosen) if self.store.clips.emotion[k] != "neutral"]
        self.telling = list(range(len(given))) or sorted(
            moved, key=lambda n: -self.store.clips.intensity[chosen[n]]
        )
        self._made, self._bank, self._said = (
            lru_cache(8)(lambda make: make()),
            lru_cache(24)(self._make_bank),
            lru_cache(8)(self._content),
        )

    def take(self, position: int) -> SourceClip:
        """The source clip of that number among `names`."""
        return self._made(self.sources[self.names[position]])

    def reference(self, position: int) -> SourceClip:
        """The clip of that number among `references`."""
        return self._made(self.shown[self.references[position]])

    def bank(self, take: SourceClip, mixture: dict) -> LowRankFields:
        """The fields of one clip and one emotion or mixture, {"happy": 0.7, "surprised": 0.3}."""
        return self._bank(
            take, tuple(sorted((name, float(weight)) for name, weight in mixture.items()))
        )

    def _make_bank(self, take: SourceClip, mixture: tuple) -> LowRankFields:
        return low_rank_fields(
            self.generator,
            take.crops,
            emotion_weights(dict(mixture), self.generator),
            take.frame_rate,
        )

    @torch.no_grad()
    def read(self, take: SourceClip, mixture: dict, curve: np.ndarray) -> dict:
        """What the guidance reads of an edit: the training signal itself, not the evaluation of notebook 06.

        Args:
            curve: (T,) intensity of each frame, 0 to 1.5.

        Returns:
            {"emotion": probabilities of `emotions` (softmax of the cosines to the learnt prompts at the temperature of
            training), "content": 1 - cosine to the source, 0 to 2, None for a clip under five frames, "change": mean
            |edit - source| of 255}.
        """
        edited = (
            edit_with_fields(self.bank(take, mixture), take.crops, curve)
            if np.any(curve)
            else take.crops
        )
        box, output = torch.tensor(take.box)[None], _tensor(edited)
        known = torch.tensor([emotion_index(name) for name in self.emotions])
        cosines = self.guidance.emotion_embedding(output, box)[0] @ self.guidance.text[known].T
        said = self._said(take)
        return {
            "emotion": torch.softmax(cosines / self.temperature, 0).tolist(),
            "content": None
            if said is None
            else float(1 - (said * self.guidance.content_embedding(output, box)).sum(-1).mean()),
            "change": float(np.abs(edited.astype(np.float32) - take.crops).mean()),
        }

    def _content(self, take: SourceClip) -> torch.Tensor | None:
        """(1, T - 4, D) of the source; nothing for a clip that is too short for content guidance."""
        return (
            self.guidance.content_embedding(_tensor(take.crops), torch.tensor(take.box)[None])
            if len(take.crops) > 2 * CONTENT_MARGIN
            else None
        )

    def _of_store(self, clip: int) -> SourceClip:
        """A clip of the reporting people: rendered again, larger, where its speech can be had, else as the store has it."""
        row = self.store.clips.iloc[clip]
        note = f"studio: nobody real; {row.emotion}, level {row.intensity}"
        try:
            spec = studio.spec_of(row["name"])
            performance = act(spec)
            frames = studio.render_performance(spec, performance, 256)[0]
            alignment = faces.align(frames, name=row["name"], crop=self.generator.crop)
            return SourceClip(
                row["name"],
                note,
                faces.crop(frames, alignment, SIDE),
                25.0,
                performance.audio,
                alignment.mouth_box,
            )
        except InputError:
            box = row[["mouth_left", "mouth_top", "mouth_right", "mouth_bottom"]].to_numpy(
                np.float32
            )
            crops = np.array(self.store.face[self.store.frames(clip)])
            return SourceClip(
                row["name"],
                note,
                _at_least(crops),
                float(row.frame_rate),
                self.store.sound(clip),
                box,
            )


def source_clip_from_file(path: Path, crop: str = "aligned", note: str = UNFITTED) -> SourceClip:
    """A video file of one face, at most `LONGEST` seconds, cropped as the generator learnt: aligned or released; with a note.

    Raises:
        InputError: a file that cannot be read, shows no face or two, or is longer.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such video file")
    seconds = video_facts(path).seconds
    if seconds > LONGEST:
        raise InputError(
            f"{path}: {seconds:.0f} seconds, the dial takes up to {LONGEST:g}: cut it, or edit it whole with cdrl edit"
        )
    clip = read_video(path, require_audio=False)
    alignment = faces.align(clip.frames, name=path.name, crop=crop)
    crops = faces.crop(clip.frames, alignment, SIDE)
    return SourceClip(path.stem, note, crops, clip.frame_rate, clip.audio, alignment.mouth_box)


def shortened(take: SourceClip, seconds: float) -> SourceClip:
    """The first so many seconds of a take."""
    count = max(1, round(seconds * take.frame_rate))
    sound = take.sound[: round(count / take.frame_rate * AUDIO_RATE)]
    return replace(take, crops=take.crops[:count], sound=sound)


def _various(store: Store) -> list[int]:
    """Clips of the reporting store by number: each speaker's first neutral clip, then one of another emotion each."""
    clips = store.clips
    neutral = clips[clips.emotion == "neutral"].groupby("speaker", sort=True).head(1).index.tolist()
    moved, turn = [], [name for name in EMOTIONS if name != "neutral"]
    for number, (_, own) in enumerate(clips.groupby("speaker", sort=True)):
        wanted = own[own.emotion == turn[number % len(turn)]].index.tolist()
        moved += wanted[-1:]
    return [int(clip) for pair in zip(neutral, moved) for clip in pair][:STUDIO_CLIPS] or list(
        range(min(len(clips), STUDIO_CLIPS))
    )


def _real_clips() -> list[Path]:
    try:
        return samples.sample_paths()
    except InputError:  # a clone without the samples
        return []


def _at_least(crops: np.ndarray, side: int = 64) -> np.ndarray:
    """Crops no smaller than the generator takes them."""
    if crops.shape[1] >= side:
        return crops
    return np.stack(
        [np.asarray(Image.fromarray(crop).resize((side, side), Image.BICUBIC)) for crop in crops]
    )


def _tensor(crops: np.ndarray) -> torch.Tensor:
    """(T, H, H, 3) uint8 -> (1, T, 3, H, H) in [0, 1]."""
    return torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2)[None].float() / 255
