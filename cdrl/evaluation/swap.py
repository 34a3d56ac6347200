"""What moves an embedding: the lips in the image, or the sound that came with it?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.evaluation.estimate import (
    Estimate,
    ScoreStatistics,
    estimate_score,
    mean_statistics,
    ratio,
)
from cdrl.evaluation.retrieval import TIE, Alignment, align_by_phones, clip_starts, unit_rows

# (n,) frames that give the image, (n,) frames that give the audio -> (n, D) embeddings.
Embed = Callable[[np.ndarray, np.ndarray], np.ndarray]
# (n,) frames, one frame -> (n,) bool, which of the frames sound like the one.
SoundsAlike = Callable[[np.ndarray, int], np.ndarray]
NEAR = (2, 4)  # frames from the positive to a near negative
DRAWS_PER_TRIPLE = 20  # at most


@dataclass(frozen=True)
class Triples:
    """Frames of anchors, positives and negatives.

    Attributes:
        anchor: (n,) frame x.
        positive: (n,) frame y, the same moment of speech in another person and emotion.
        negative: (n,) frame z, another moment of y's clip.
        far: (n,) bool, z is more than 4 frames from y.
        speaker: (n,) of x.
        skipped: pairs of clips without alignment.
    """

    anchor: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    far: np.ndarray
    speaker: np.ndarray
    skipped: int

    def __len__(self) -> int:
        return len(self.anchor)


def draw_triples(
    clips: pd.DataFrame,
    frames: pd.DataFrame,
    num: int = 4000,
    seed: int = 0,
    moments_of: Alignment | None = None,
    sounds_alike: SoundsAlike | None = None,
) -> Triples:
    """Draw anchors, the same moment in another person and emotion, and another moment of it.

    x: a frame. y: the aligned frame of a clip of the same sentence in another emotion by another
    speaker. z: a frame of y's clip whose viseme is neither y's nor x's, 2 to 4 frames away for one
    half of the triples, farther for the other.

    Args:
        clips: speaker, sentence, emotion.
        frames: clip, phoneme, viseme, one row a frame, clip by clip.
        num: how many; `content.swap_image` needs 3,000 or more.
        seed: of the draws.
        moments_of: alignment of two clips, where `frames` has no phonemes.
        sounds_alike: which frames sound like another and are not taken for z, where `frames` has no
            visemes.

    Returns:
        `Triples`, near and far in turn. Fewer than `num` only where the corpus cannot give them
        within 20 times as many draws.

    Raises:
        InputError: where there is no triple.
    """
    random = np.random.default_rng([seed, 7201])
    starts = clip_starts(frames)
    partners = _Partners(clips, moments_of or align_by_phones(frames))
    sounds_alike = sounds_alike or _same_viseme(frames)

    rows: list[tuple[int, int, int, bool, int]] = []
    for _ in range(DRAWS_PER_TRIPLE * num):
        if len(rows) == num or not len(partners.usable):
            break
        pair = partners.draw(random)
        if pair is None:
            continue
        first, second, moments = pair

        anchor = int(random.integers(starts[first], starts[first + 1]))
        moment = moments[anchor - starts[first]]
        positive = int(starts[second] + np.round(moment))
        far = len(rows) % 2 == 1
        candidates = np.arange(starts[second], starts[second + 1])
        candidates = candidates[_has_distance(candidates, positive, far)]
        is_alike = sounds_alike(candidates, positive) | sounds_alike(candidates, anchor)
        candidates = candidates[~is_alike]
        if len(candidates):
            negative = int(random.choice(candidates))
            rows.append((anchor, positive, negative, far, first))

    if not rows:
        raise InputError(
            f"no triple among {len(clips)} clips: it takes one sentence by two speakers in two "
            "emotions"
        )

    columns = [np.array(column) for column in zip(*rows, strict=True)]
    anchors, positives, negatives, far_flags, anchor_clips = columns

    return Triples(
        anchors,
        positives,
        negatives,
        far=far_flags.astype(bool),
        speaker=clips["speaker"].to_numpy()[anchor_clips],
        skipped=len(partners.not_aligned),
    )


class _Partners:
    """Pairs of clips: one sentence by two speakers in two emotions.

    Args:
        clips: speaker, sentence, emotion.
        align: alignment of two clips.

    Attributes:
        usable: (n,) clips of the scored emotions.
        not_aligned: pairs that were drawn and could not be aligned.
    """

    def __init__(self, clips: pd.DataFrame, align: Alignment) -> None:
        self.align = align
        self.speaker = clips["speaker"].to_numpy()
        self.sentence = clips["sentence"].to_numpy()
        self.emotion = clips["emotion"].to_numpy()

        is_scored = clips["emotion"].isin(SCORED_EMOTIONS)
        self.usable = np.flatnonzero(is_scored.to_numpy())

        self.moments: dict[tuple[int, int], np.ndarray | None] = {}
        self.not_aligned: set[tuple[int, int]] = set()

    def draw(self, random: np.random.Generator) -> tuple[int, int, np.ndarray] | None:
        """A clip, its partner and the (T,) moments of the partner; None without a partner."""
        first = int(random.choice(self.usable))

        same_sentence = self.sentence[self.usable] == self.sentence[first]
        other_emotion = self.emotion[self.usable] != self.emotion[first]
        other_speaker = self.speaker[self.usable] != self.speaker[first]
        partners = self.usable[same_sentence & other_emotion & other_speaker]

        if not len(partners):
            return None

        second = int(random.choice(partners))
        pair = (first, second)

        if pair not in self.moments:
            self.moments[pair] = self.align(first, second)

        moments = self.moments[pair]

        if moments is None:
            self.not_aligned.add(pair)
            return None

        return first, second, moments


def _same_viseme(frames: pd.DataFrame) -> SoundsAlike:
    visemes = frames["viseme"].to_numpy()

    def same_viseme(candidates: np.ndarray, frame: int) -> np.ndarray:
        return visemes[candidates] == visemes[frame]

    return same_viseme


def _has_distance(candidates: np.ndarray, positive: int, far: bool) -> np.ndarray:
    """(n,) bool: which frames are as far from the positive as a negative should be."""
    distance = np.abs(candidates - positive)
    if far:
        return distance > NEAR[1]

    return (distance >= NEAR[0]) & (distance <= NEAR[1])


def triple_wins(embed: Embed, triples: Triples) -> np.ndarray:
    """(n,) 1 where the positive is nearer than the negative, .5 where it is as near.

    Args:
        embed: as in `swap_image`.
        triples: n of them; all three images are given the anchor's audio.
    """
    audio = triples.anchor

    anchor = unit_rows(embed(triples.anchor, audio))
    positive = unit_rows(embed(triples.positive, audio))
    negative = unit_rows(embed(triples.negative, audio))

    margin = (anchor * positive).sum(1) - (anchor * negative).sum(1)
    is_tie = np.abs(margin) <= TIE

    return np.where(is_tie, 0.5, margin > 0)


def swap_image(embed: Embed, triples: Triples) -> Estimate:
    """How often the positive image is nearer than the negative one under the anchor's audio.

    Mean of [cos(x, y) > cos(x, z)] + .5 [equal].

    Args:
        embed: (image frames, audio frames) -> (n, D). Raw features and true actions ignore the
            audio.
        triples: of `draw_triples`.

    Returns:
        With chance .5, near and far (each half by itself), interval over the anchors' speakers, n.
        An encoder that listens only to the audio scores exactly .5.
    """
    wins = triple_wins(embed, triples)
    near_wins = wins[~triples.far]
    far_wins = wins[triples.far]

    statistics = mean_statistics(wins)
    estimate = estimate_score(statistics, triples.speaker, chance=0.5)
    return estimate.with_details(
        skipped=triples.skipped, near=_mean(near_wins), far=_mean(far_wins)
    )


def _mean(values: np.ndarray) -> float:
    """Mean of (n,) values; nan for none."""
    return float(values.mean()) if len(values) else float("nan")


def swap_audio(embed: Embed, frames: pd.DataFrame, num: int = 2000, seed: int = 0) -> Estimate:
    """How far an exchange of the audio moves the embedding, over how far one of the image does.

    Both exchanges take the same frame of another clip.

    Args:
        embed: as in `swap_image`.
        frames: clip and speaker of each frame.
        num: exchanges.
        seed: of the draws.

    Returns:
        Mean cosine distance for the audio / for the image; audio, image: those two means; n;
        by_construction: 1 where the audio moved nothing at all (an image-only encoder). An encoder
        that listens only to the audio has image 0 and value inf.
    """
    random = np.random.default_rng([seed, 7202])
    clip = frames["clip"].to_numpy()
    kept, exchanged = random.integers(len(clip), size=(2, num))

    is_other_clip = clip[kept] != clip[exchanged]
    kept = kept[is_other_clip]
    exchanged = exchanged[is_other_clip]

    base = unit_rows(embed(kept, kept))
    audio = _cosine_distance(base, embed(kept, exchanged))
    image = _cosine_distance(base, embed(exchanged, kept))

    statistics = ScoreStatistics(np.stack([audio, image], axis=1), ratio)
    speakers = frames["speaker"].to_numpy()[kept]
    estimate = estimate_score(statistics, speakers)

    is_image_only = not audio.any()
    return estimate.with_details(
        audio=float(audio.mean()), image=float(image.mean()), by_construction=int(is_image_only)
    )


def _cosine_distance(base: np.ndarray, moved: np.ndarray) -> np.ndarray:
    """(n,) cosine distance of (n, D) unit rows to (n, D) embeddings; a tie counts 0."""
    cosine = (base * unit_rows(moved)).sum(1)
    distance = np.clip(1 - cosine, 0, 2)
    return np.where(distance < TIE, 0.0, distance)
