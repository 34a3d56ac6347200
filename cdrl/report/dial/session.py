"""Clips, a generator, and the readings of the run's guidance: all that the dial computes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch

from cdrl.core.errors import InputError
from cdrl.core.paths import run_path
from cdrl.core.results import read_results
from cdrl.core.settings import EmotionConfig, stage_folder
from cdrl.core.vocabulary import EMOTIONS, emotion_index
from cdrl.corpora import samples
from cdrl.corpora.batches import image_tensor
from cdrl.corpora.store import Store
from cdrl.editing.control import emotion_weights
from cdrl.editors.base import Editor, editor_of_clip
from cdrl.editors.loading import load_editor
from cdrl.media import faces
from cdrl.report.dial.low_rank import LowRankFields, edit_with_fields, low_rank_fields
from cdrl.report.dial.source_clip import SIDE, SourceClip, enlarged, source_clip_from_file
from cdrl.report.ready import finished_stage
from cdrl.representation.guidance import CONTENT_MARGIN, Guidance
from cdrl.studio import corpus as studio
from cdrl.studio.acting import act

STUDIO_CLIPS = 10
RENDERED_SIDE = 256  # pixels of a studio clip that is rendered again
STUDIO_RATE = 25.0  # Hz
CACHED_CLIPS = 8
CACHED_FIELDS = 24
UNFITTED = (
    "not of the studio: the generator was not fitted to this person (cdrl edit --fit does), so "
    "expect little"
)
UNSEEN = "not of the studio: nothing that edits here ever saw a real face"

# A clip, or a function that makes it when it is needed.
Loader = Callable[[], SourceClip]
ClipOrLoader = SourceClip | Loader


@dataclass(frozen=True)
class SessionOpening:
    """How another process opens the same session.

    Attributes:
        run: folder of the run.
        generator: as `Session` takes it.
    """

    run: Path
    generator: Path | str | None


class Session:
    """A generator and a run's guidance for some clips; clips and fields are made once, on request.

    Attributes:
        clip_names: names of the source clips.
        emotions: the emotions that the generator learnt.
        reference_names: names of the clips whose emotion can be taken.
        page_references: positions among `reference_names` for a page, which cannot show all: those
            of strong emotions first.
        has_named_references: whether the user named them.
        opening: how another process opens the same session, without the files that were named.

    Args:
        run: folder of a run.
        clip: a video file instead of the run's clips.
        references: video files beside the run's clips.
        generator: as `load_editor` takes it, in place of the run's own; `calibrated` edits by
            facial actions, as `cdrl edit` does.
        isolated: whether named files are read in a process of their own, which a damaged one may
            end without harm. A script needs `if __name__ == "__main__":` then.

    Raises:
        InputError: where the run is not there, not ready or of another version, or a file cannot
            be used.
    """

    def __init__(
        self,
        run: Path | str,
        clip: Path | str | None = None,
        references: Sequence[Path | str] = (),
        generator: Path | str | None = None,
        isolated: bool = False,
    ) -> None:
        self.isolated = isolated
        self.run = run_path(run)
        self.opening = SessionOpening(self.run, generator)
        files = ("cdrl/model.safetensors", "cdrl/model.json")
        folder = finished_stage(self.run, "generator", "generator", files)
        self.store = Store(stage_folder(self.run, "corpus") / "report")
        self.generator = load_editor(generator or folder)
        self.guidance = Guidance(self.run)
        crop = self.generator.card.crop
        if crop != self.guidance.crop:
            raise InputError(
                f"{generator or folder}: edits {crop} crops, {self.run} was made with "
                f"corpus.crop={self.guidance.crop}; leave it out, or take a run with "
                f"corpus.crop={crop}"
            )
        self.emotions = self.generator.card.emotions
        self.temperature = _training_temperature(self.run)
        self._file_note = UNFITTED if self.generator.can_fit else UNSEEN
        self._load_clip = lru_cache(CACHED_CLIPS)(_call)
        self._editor_of_clip = lru_cache(CACHED_CLIPS)(self._bind_editor)
        self._cached_fields = lru_cache(CACHED_FIELDS)(self._compute_fields)
        self._source_content = lru_cache(CACHED_CLIPS)(self._embed_content)
        self._choose_clips(clip, references)

    def _choose_clips(self, clip: Path | str | None, references: Sequence[Path | str]) -> None:
        """Set the source clips and references from the files that were named and the run's own."""
        clip_indices = _varied_clips(self.store)
        own_clips: dict[str, ClipOrLoader] = {}
        for index in clip_indices:
            own_clips[self.store.clips.name[index]] = partial(self.studio_clip, index)
        for path in _sample_paths():
            own_clips[path.stem] = partial(self._clip_from_file, path)

        named_references: dict[str, ClipOrLoader] = {}
        for file in references:
            reference = self._clip_from_file(Path(file), self.isolated)
            named_references[reference.name] = reference

        self._clips = own_clips
        if clip is not None:
            source = self._clip_from_file(Path(clip), self.isolated)
            self._clips = {source.name: source}
        self._references = dict(named_references)
        for name, own_clip in own_clips.items():
            self._references.setdefault(name, own_clip)

        self.clip_names = list(self._clips)
        self.reference_names = list(self._references)
        self.has_named_references = bool(named_references)
        self.page_references = list(range(len(named_references)))
        if not named_references:
            self.page_references = self._strongest_first(clip_indices)

    def _strongest_first(self, clip_indices: list[int]) -> list[int]:
        """Positions of the clips that are not neutral, those of high intensity first."""
        clips = self.store.clips
        positions = []
        intensities = {}
        for position, index in enumerate(clip_indices):
            if clips.emotion[index] != "neutral":
                positions.append(position)
                intensities[position] = clips.intensity[index]

        return sorted(positions, key=lambda position: -intensities[position])

    def clip(self, position: int) -> SourceClip:
        """The source clip at a position among `clip_names`.

        Args:
            position: from 0.
        """
        return self._resolve(self._clips[self.clip_names[position]])

    def given_clip(self, position: int) -> SourceClip | None:
        """The source clip at a position, where it was read from a file that was named.

        Args:
            position: from 0.
        """
        clip = self._clips[self.clip_names[position]]
        return clip if isinstance(clip, SourceClip) else None

    def reference(self, position: int) -> SourceClip:
        """The clip at a position among `reference_names`.

        Args:
            position: from 0.
        """
        return self._resolve(self._references[self.reference_names[position]])

    def _resolve(self, clip: ClipOrLoader) -> SourceClip:
        """A clip, made where only its loader is known."""
        return clip if isinstance(clip, SourceClip) else self._load_clip(clip)

    def fields(self, clip: SourceClip, mixture: Mapping[str, float]) -> LowRankFields:
        """The fields of one clip and one emotion or mixture.

        Args:
            clip: the source.
            mixture: {"happy": 0.7, "surprised": 0.3}.
        """
        weights = [(name, float(weight)) for name, weight in mixture.items()]
        return self._cached_fields(clip, tuple(sorted(weights)))

    def _compute_fields(self, clip: SourceClip, mixture: tuple) -> LowRankFields:
        """The fields for a mixture as ((name, weight), ...), which a cache can compare."""
        weights = emotion_weights(dict(mixture), self.emotions)
        editor = self._editor_of_clip(clip)
        return low_rank_fields(editor, clip.crops, weights, clip.frame_rate)

    def _bind_editor(self, clip: SourceClip) -> Editor:
        """The generator of one clip, which it has looked at."""
        no_weights = torch.zeros(1, len(EMOTIONS))
        editor, _ = editor_of_clip(self.generator, clip.crops, no_weights)
        return editor

    @torch.no_grad()
    def readings(
        self, clip: SourceClip, mixture: Mapping[str, float], curve: np.ndarray
    ) -> dict[str, list[float] | float | None]:
        """What the guidance reads of an edit.

        It is the signal of training, not the evaluation of notebook 06.

        Args:
            clip: the source.
            mixture: {emotion: weight}.
            curve: (T,) intensity of each frame, 0 to 1.5.

        Returns:
            {"emotion": probabilities of `emotions` (softmax of the cosines to the learnt prompts at
            the temperature of training), "content": 1 - cosine to the source, 0 to 2, None for a
            clip under five frames, "change": mean |edit - source| of 255}.
        """
        edited = clip.crops
        if np.any(curve):
            edited = edit_with_fields(self.fields(clip, mixture), clip.crops, curve)

        box = torch.tensor(clip.mouth_box)[None]
        output = image_tensor(edited)[None]
        indices = torch.tensor([emotion_index(name) for name in self.emotions])
        source_content = self._source_content(clip)
        if source_content is None:
            embedding = self.guidance.emotion_embedding(output, box)[0]
        else:
            embeddings, output_content = self.guidance.embeddings(output, box)
            embedding = embeddings[0]
        cosines = embedding @ self.guidance.text[indices].T
        probabilities = torch.softmax(cosines / self.temperature, 0)

        content = None
        if source_content is not None:
            content = float(1 - (source_content * output_content).sum(-1).mean())

        change = np.abs(edited.astype(np.float32) - clip.crops).mean()
        return {"emotion": probabilities.tolist(), "content": content, "change": float(change)}

    def _embed_content(self, clip: SourceClip) -> torch.Tensor | None:
        """(1, T - 4, D) content of the source; None where it is too short for content guidance."""
        if len(clip.crops) <= 2 * CONTENT_MARGIN:
            return None
        box = torch.tensor(clip.mouth_box)[None]
        return self.guidance.content_embedding(image_tensor(clip.crops)[None], box)

    def _clip_from_file(self, path: Path, isolated: bool = False) -> SourceClip:
        """A video file, cropped as the generator needs it."""
        return source_clip_from_file(path, self.generator.card.crop, self._file_note, isolated)

    def studio_clip(self, index: int) -> SourceClip:
        """A clip of the run's reporting people.

        It is rendered again, larger, where its speech can be had; else as the store has it.

        Args:
            index: number of the clip in the store.
        """
        row = self.store.clips.iloc[index]
        name = row["name"]
        note = f"studio: nobody real; {row.emotion}, level {row.intensity}"
        try:
            spec = studio.spec_of(name)
            performance = act(spec)
            frames = studio.render_performance(spec, performance, RENDERED_SIDE)[0]
            alignment = faces.align(frames, name=name, crop=self.generator.card.crop)
        except InputError:
            return self._stored_clip(index, note)

        return SourceClip(
            name=name,
            note=note,
            crops=faces.crop(frames, alignment, SIDE),
            frame_rate=STUDIO_RATE,
            sound=performance.audio,
            mouth_box=alignment.mouth_box,
        )

    def _stored_clip(self, index: int, note: str) -> SourceClip:
        """A clip as the store has it, enlarged where it is too small to edit."""
        row = self.store.clips.iloc[index]
        frames = self.store.frames(index)
        crops = np.array(self.store.face[frames])
        box = row[["mouth_left", "mouth_top", "mouth_right", "mouth_bottom"]]

        return SourceClip(
            name=row["name"],
            note=note,
            crops=enlarged(crops),
            frame_rate=float(row.frame_rate),
            sound=self.store.sound(index),
            mouth_box=box.to_numpy(np.float32),
        )


def _call(loader: Loader) -> SourceClip:
    """The clip of a loader."""
    return loader()


def _training_temperature(run: Path) -> float:
    """The temperature of the emotion encoder's training; the default without a record of it."""
    stages = read_results(run)["stages"]
    config = stages.get("emotion", {}).get("config", {})
    return config.get("temperature", EmotionConfig().temperature)


def _varied_clips(store: Store) -> list[int]:
    """Numbers of clips: each speaker's first neutral clip, then one of another emotion each."""
    clips = store.clips
    neutral = clips[clips.emotion == "neutral"].groupby("speaker", sort=True).head(1)
    other_emotions = [name for name in EMOTIONS if name != "neutral"]
    expressive: list[int] = []
    for number, (_, speaker_clips) in enumerate(clips.groupby("speaker", sort=True)):
        emotion = other_emotions[number % len(other_emotions)]
        candidates = speaker_clips[speaker_clips.emotion == emotion].index.tolist()
        expressive += candidates[-1:]

    indices: list[int] = []
    for pair in zip(neutral.index.tolist(), expressive, strict=False):
        indices += [int(index) for index in pair]
    if not indices:
        indices = list(range(len(clips)))
    return indices[:STUDIO_CLIPS]


def _sample_paths() -> list[Path]:
    """The committed real clips; none in a clone without them."""
    try:
        return samples.sample_paths()
    except InputError:
        return []
