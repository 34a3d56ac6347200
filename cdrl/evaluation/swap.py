"""What moves an embedding: the lips in the image, or the sound that came with it?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.evaluation.estimate import ScoreStatistics, estimate_score, mean_statistics, ratio
from cdrl.evaluation.retrieval import TIE, by_phones, clip_starts, unit_rows

# (n,) frames that give the image, (n,) frames that give the audio -> (n, D) embeddings.
Embed = Callable[[np.ndarray, np.ndarray], np.ndarray]
NEAR = (2, 4)


@dataclass(frozen=True)
class Triples:
    """Frame numbers of anchor x, right y and wrong z, (n,) each.

    far: (n,) bool, z is more than 4 frames from y. speaker: (n,) of x. skipped: pairs of clips without alignment.
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
    moments_of: Callable | None = None,
    sounds_alike: Callable | None = None,
) -> Triples:
    """Anchor, the same moment in another person and emotion, and another moment of that same clip.

    x: a frame. y: the aligned frame of a clip of the same sentence in another emotion by another speaker. z: a frame of
    y's clip whose viseme is neither y's nor x's, 2 to 4 frames away for one half of the triples, farther for the other.

    Args:
        clips: speaker, sentence, emotion. frames: clip, phoneme, viseme, one row per frame, clip by clip.
        num: how many; `content.swap_image` needs 3,000 or more.
        moments_of: as in `retrieval_r1`; sounds_alike: (frames, frame) -> bool, which of some frames sound like another, and
            are not taken for z. Both where `frames` has no phonemes and visemes.

    Returns:
        `Triples`, near and far in turn. Fewer than `num` only where the corpus cannot give them within 20 times as many
        draws.
    """
    rng = np.random.default_rng([seed, 7201])
    starts, align = clip_starts(frames), moments_of or by_phones(frames)
    viseme = frames["viseme"].to_numpy() if sounds_alike is None else None
    alike = sounds_alike or (lambda some, one: viseme[some] == viseme[one])
    usable = np.flatnonzero(clips["emotion"].isin(SCORED_EMOTIONS).to_numpy())
    speaker, sentence, emotion = (
        clips[name].to_numpy() for name in ("speaker", "sentence", "emotion")
    )
    moments, found, lost = {}, [], set()
    for _ in range(20 * num):
        if len(found) == num or not len(usable):
            break
        one = int(rng.choice(usable))
        same = usable[
            (sentence[usable] == sentence[one])
            & (emotion[usable] != emotion[one])
            & (speaker[usable] != speaker[one])
        ]
        if not len(same):
            continue
        two = int(rng.choice(same))
        if (one, two) not in moments:
            moments[one, two] = align(one, two)
        if moments[one, two] is None:
            lost.add((one, two))
            continue
        at = int(rng.integers(starts[one], starts[one + 1]))
        to = int(starts[two] + np.round(moments[one, two][at - starts[one]]))
        far = len(found) % 2 == 1
        others = np.arange(starts[two], starts[two + 1])
        gap = np.abs(others - to)
        fits = (gap > NEAR[1]) if far else (gap >= NEAR[0]) & (gap <= NEAR[1])
        others = others[fits]
        others = others[~alike(others, to) & ~alike(others, at)]
        if len(others):
            found.append((at, to, int(rng.choice(others)), far, one))
    if not found:
        raise InputError(
            f"no triple among {len(clips)} clips: it takes one sentence by two speakers in two emotions"
        )
    at, to, wrong, far, clip = (np.array(column) for column in zip(*found))
    return Triples(at, to, wrong, far.astype(bool), speaker[clip], len(lost))


def triple_wins(embed: Embed, triples: Triples) -> np.ndarray:
    """(n,) 1 where the right image is nearer than the wrong one, .5 where it is as near; `embed` as in `swap_image`."""
    sound = triples.anchor
    anchor, right, wrong = (
        unit_rows(embed(image, sound))
        for image in (triples.anchor, triples.positive, triples.negative)
    )
    margin = (anchor * right).sum(1) - (anchor * wrong).sum(1)
    return np.where(np.abs(margin) <= TIE, 0.5, margin > 0)


def swap_image(embed: Embed, triples: Triples, seed: int = 0) -> dict:
    """How often the right image is nearer than the wrong one when all three are given the anchor's audio.

    Mean of [cos(x, y) > cos(x, z)] + .5 [equal].

    Args:
        embed: (image frames, audio frames) -> (n, D). Raw features and true coefficients ignore the audio:
            `lambda image, audio: features[image]`.

    Returns:
        A row: value, chance .5, near, far (each half by itself), low, high over the anchors' speakers, n. An encoder
        that listens only to the audio scores exactly .5.
    """
    win = triple_wins(embed, triples)
    halves = {
        name: float(win[half].mean()) if half.any() else float("nan")
        for name, half in (("near", ~triples.far), ("far", triples.far))
    }
    return estimate_score(
        mean_statistics(win), triples.speaker, seed, chance=0.5, skipped=triples.skipped, **halves
    )


def swap_audio(embed: Embed, frames: pd.DataFrame, num: int = 2000, seed: int = 0) -> dict:
    """How far the embedding moves when only the audio is exchanged, over how far when only the image is.

    Args:
        embed: as in `swap_image`. frames: clip and speaker of each frame. Both exchanges take the same frame of another
        clip.

    Returns:
        A row: value = mean cosine distance for the audio / for the image; audio, image = those two means; n;
        by_construction 1 where the audio moved nothing at all (an image-only encoder: 0 by construction). An encoder
        that listens only to the audio has image 0 and value inf.
    """
    rng = np.random.default_rng([seed, 7202])
    clip, speaker = frames["clip"].to_numpy(), frames["speaker"].to_numpy()
    own, other = rng.integers(len(clip), size=(2, num))
    own, other = own[clip[own] != clip[other]], other[clip[own] != clip[other]]
    base = unit_rows(embed(own, own))
    audio, image = (
        np.clip(1 - (base * unit_rows(embed(*pair))).sum(1), 0, 2)
        for pair in ((own, other), (other, own))
    )
    audio, image = (np.where(moved < TIE, 0.0, moved) for moved in (audio, image))
    return estimate_score(
        ScoreStatistics(np.stack([audio, image], axis=1), ratio),
        speaker[own],
        seed,
        audio=float(audio.mean()),
        image=float(image.mean()),
        by_construction=int(not audio.any()),
    )
