"""Is the studio's task as hard as it should be? The `corpus.*` scores, from the truth alone.

    python -m cdrl.studio.calibration [--people 24] [--sentences 12]

Probes: StandardScaler, LogisticRegression (C = 1). Each is fitted on one half of the report split
(half of the people, saying half of the sentences) and scored on the other, both ways round.
`intensity_ceiling` is of people of its own.
"""

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from cdrl.core.intervals import share_over_people
from cdrl.core.pools import in_order
from cdrl.core.vocabulary import ACTIONS, EMOTIONS, INTENSITIES, MOUTH_INDEX, SCORED_EMOTIONS
from cdrl.media.mouth_curves import mouth_curves
from cdrl.studio import articulation, corpus, expression
from cdrl.studio.acting import ClipSpec, act, true_edit, utterance_of
from cdrl.studio.speech import speak_all

WINDOW = np.arange(-2, 3)  # frames around one, itself included
BATCH = 16  # clips that a worker acts at once
MOST_FITTED = 20_000  # frames that a probe is fitted to
FIRST_STRANGER = 100_000  # id of the first person of `intensity_ceiling`; no split has them
_MOVED_EMOTIONS = [emotion for emotion in SCORED_EMOTIONS if emotion != "neutral"]


@dataclass(frozen=True)
class Truth:
    """The true coefficients of all clips, N frames end to end, and what they belong to.

    Attributes:
        coefficients: (N, 52).
        windows: (N, 5) numbers of the frames -2 to +2 of the same clip, its ends repeated.
        emotion: (N,) labels.
        viseme: (N,) labels.
        half: (N,) 0 or 1; people and sentences of the two are disjoint.
        person: (N,) ids.
    """

    coefficients: np.ndarray
    windows: np.ndarray
    emotion: np.ndarray
    viseme: np.ndarray
    half: np.ndarray
    person: np.ndarray


@dataclass(frozen=True)
class CorpusScore:
    """A score of the corpus.

    Attributes:
        value: the score.
        n: frames or clips that are scored.
        chance: what no information scores; None where it has no meaning.
        low: lower end of the 95 % interval; None where there is none.
        high: upper end.
    """

    value: float
    n: int
    chance: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ActedClip:
    """A clip of T frames and its true edit; nothing is rendered.

    Attributes:
        coefficients: (T, 52).
        viseme: (T,) labels.
        edit_curves: (T, 3) mouth curves of the edit.
    """

    coefficients: np.ndarray
    viseme: np.ndarray
    edit_curves: np.ndarray


def act_clips(specs: list[ClipSpec], workers: int = 1) -> list[ActedClip]:
    """Speak and act every clip once, and its edit: targets and levels in turn.

    Args:
        specs: which clips.
        workers: processes; 1: in this one.
    """
    numbered = list(enumerate(specs))
    jobs = []
    for start in range(0, len(numbered), BATCH):
        jobs.append((numbered[start : start + BATCH],))

    clips = []
    for batch in in_order(_act_batch, jobs, workers):
        clips.extend(batch)
    return clips


def _act_batch(batch: list[tuple[int, ClipSpec]]) -> list[ActedClip]:
    utterances = [utterance_of(spec) for _, spec in batch]

    clips = []
    for (number, spec), speech in zip(batch, speak_all(utterances), strict=True):
        targets = [emotion for emotion in SCORED_EMOTIONS if emotion != spec.emotion]
        target = targets[number % len(targets)]
        level = 1 + number % 3

        source = act(spec, speech)
        edit = true_edit(spec, target, level, speech)
        curves = mouth_curves(edit.coefficients)
        clips.append(ActedClip(source.coefficients, source.viseme, curves))

    return clips


def truth_of(specs: list[ClipSpec], clips: list[ActedClip]) -> Truth:
    """Lay the frames of a crossed list of clips end to end.

    Args:
        specs: as `corpus.specs` lists them.
        clips: of `act_clips`.
    """
    first_person = min(spec.person for spec in specs)
    first_half = {spec.sentence for spec in specs if spec.person == first_person}

    coefficients = []
    visemes = []
    windows = []
    first_frame = 0
    for clip in clips:
        length = len(clip.viseme)
        coefficients.append(clip.coefficients)
        visemes.append(clip.viseme)
        windows.append(first_frame + _windows(length))
        first_frame += length

    emotions = [EMOTIONS.index(spec.emotion) for spec in specs]
    halves = [int(spec.sentence not in first_half) for spec in specs]
    people = [spec.person for spec in specs]
    lengths = [len(viseme) for viseme in visemes]

    return Truth(
        coefficients=np.concatenate(coefficients),
        windows=np.concatenate(windows),
        emotion=np.repeat(emotions, lengths),
        viseme=np.concatenate(visemes),
        half=np.repeat(halves, lengths),
        person=np.repeat(people, lengths),
    )


def _windows(length: int) -> np.ndarray:
    """(T, 5) numbers of the frames around each of T, the ends repeated."""
    frames = np.arange(length)[:, None] + WINDOW
    return np.clip(frames, 0, length - 1)


# --- probes -----------------------------------------------------------------------------------


def probe(features: np.ndarray, labels: np.ndarray, truth: Truth) -> CorpusScore:
    """Accuracy of a linear probe, fitted on each half and scored on the other.

    Args:
        features: (N, D).
        labels: (N,).
        truth: of the same N frames.

    Returns:
        Accuracy; chance is that of the fitting half's majority, the interval is over people.
    """
    from sklearn.linear_model import LogisticRegression  # here: its import takes a second
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    is_right = np.zeros(len(labels))
    is_majority = np.zeros(len(labels))
    for half in (0, 1):
        fit = _subsample(truth.half != half)
        scored = truth.half == half

        model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=300))
        with threadpool_limits(1):  # more threads cost more than they give, and change last digits
            model.fit(features[fit], labels[fit])

        answers = labels[scored]
        predictions = model.predict(features[scored])
        is_right[scored] = predictions == answers

        majority = np.bincount(labels[fit]).argmax()
        is_majority[scored] = answers == majority

    low, high = _interval_over_people(is_right, truth.person)

    return CorpusScore(is_right.mean(), len(labels), is_majority.mean(), low, high)


def _interval_over_people(is_right: np.ndarray, person: np.ndarray) -> tuple[float, float]:
    """95 % interval of the accuracy when people are drawn anew.

    Args:
        is_right: (N,) 1 for a right answer, 0 for a wrong one.
        person: (N,) ids.
    """
    _, person_index = np.unique(person, return_inverse=True)

    hits = np.bincount(person_index, is_right)
    frames = np.bincount(person_index)

    return share_over_people(hits, frames)


def _subsample(mask: np.ndarray) -> np.ndarray:
    """Numbers of the frames in a mask (N,), or of `MOST_FITTED` of them drawn at random."""
    frames = np.flatnonzero(mask)
    if len(frames) <= MOST_FITTED:
        return frames

    drawn = np.random.default_rng(0).choice(frames, MOST_FITTED, replace=False)
    return np.sort(drawn)


# --- what doing nothing scores ----------------------------------------------------------------


def pooled_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r of each column of two curves over all rows, mean of the columns.

    Args:
        first: (T, D).
        second: (T, D).

    Returns:
        1 for a copy, about 0 for unrelated curves.
    """
    return float((_standardise(first) * _standardise(second)).mean())


def _standardise(curves: np.ndarray) -> np.ndarray:
    return (curves - curves.mean(0)) / curves.std(0)


def copy_mouth_correlation(clips: list[ActedClip]) -> CorpusScore:
    """What doing nothing scores: mouth curves of source against true edit.

    Args:
        clips: of `act_clips`.
    """
    sources = np.concatenate([mouth_curves(clip.coefficients) for clip in clips])
    edits = np.concatenate([clip.edit_curves for clip in clips])

    return CorpusScore(pooled_correlation(sources, edits), len(sources))


# --- what can be known of the intensity -------------------------------------------------------


def intensity_ceiling(clips: int = 12_000, people: int = 4_000) -> CorpusScore:
    """What can be known of a clip's level at all.

    Spearman's correlation of the level with the answer of trees that know too much: the emotion,
    and every emotional action of two seconds exactly, before speech is laid over it and without a
    picture (mean and greatest), of far more people than any corpus has. A level is a scale of .42,
    .72 or 1 times the person's, the clip's and the action's own way with the emotion; somebody
    never seen before who does little may mean a strong emotion.

    Args:
        clips: a fifth of them, of other people, are scored.
        people: whom no split contains.

    Returns:
        The correlation; chance is 0.
    """
    from scipy.stats import spearmanr  # here: its import takes a second
    from sklearn.ensemble import HistGradientBoostingRegressor

    rng = np.random.default_rng(9301)
    person = np.arange(clips) % people
    emotion = rng.integers(len(_MOVED_EMOTIONS), size=clips)
    level = rng.choice(INTENSITIES, clips)

    features = np.empty((clips, 2 * len(ACTIONS) + 1), np.float32)
    for clip in range(clips):
        stranger = FIRST_STRANGER + int(person[clip])
        clip_level = int(level[clip])
        features[clip] = _expression_features(stranger, emotion[clip], clip_level, clip)

    is_fitted = person < people * 4 // 5
    is_scored = ~is_fitted
    trees = HistGradientBoostingRegressor(max_iter=300, learning_rate=0.06, random_state=0)
    trees.fit(features[is_fitted], level[is_fitted])
    answers = trees.predict(features[is_scored])
    correlation = spearmanr(answers, level[is_scored])

    return CorpusScore(correlation.statistic, is_scored.sum(), chance=0.0)


def _expression_features(person: int, emotion: int, level: int, clip: int) -> np.ndarray:
    """(105,) mean and greatest of each action over two seconds, and the emotion's number."""
    times = articulation.frame_times(50)
    name = _MOVED_EMOTIONS[emotion]
    actions = expression.express(person, name, level, (person, clip), times)
    return np.concatenate([actions.mean(0), actions.max(0), [emotion]])


# --- all of them ------------------------------------------------------------------------------


def corpus_scores(specs: list[ClipSpec], workers: int = 1) -> dict[str, float]:
    """The corpus.* scores: name -> value; `.chance`, `.n`, `.low`, `.high` beside each.

    Args:
        specs: a crossed list, as `corpus.specs` makes it.
        workers: processes that act the clips; 1: this one.
    """
    clips = act_clips(specs, workers)
    truth = truth_of(specs, clips)
    mouth = truth.coefficients[:, MOUTH_INDEX]
    mouth_windows = mouth[truth.windows].reshape(len(mouth), -1)

    scores = {}
    scores["emotion_from_mouth"] = probe(mouth, truth.emotion, truth)
    scores["emotion_from_all"] = probe(truth.coefficients, truth.emotion, truth)
    scores["viseme_from_truth"] = probe(mouth, truth.viseme, truth)
    scores["viseme_from_truth_5_frames"] = probe(mouth_windows, truth.viseme, truth)
    scores["copy_mouth_correlation"] = copy_mouth_correlation(clips)

    return flatten(scores)


def flatten(scores: Mapping[str, CorpusScore]) -> dict[str, float]:
    """Scores by name -> "corpus.name" with "corpus.name.chance" and so on beside it."""
    flat = {}
    for name, score in scores.items():
        flat[f"corpus.{name}"] = float(score.value)
        for part in ("chance", "n", "low", "high"):
            value = getattr(score, part)
            if value is not None:
                flat[f"corpus.{name}.{part}"] = float(value)

    return flat


def main() -> None:
    """Command line: print the corpus.* scores of one split."""
    parser = argparse.ArgumentParser(
        description="Print the corpus.* scores of the studio's report split."
    )
    parser.add_argument("--split", default="report", choices=("report", "choose"))
    parser.add_argument("--people", type=int, default=24)
    parser.add_argument("--sentences", type=int, default=12)
    options = parser.parse_args()

    specs = corpus.specs(options.split, people=options.people, sentences=options.sentences)
    scores = corpus_scores(specs)
    scores.update(flatten({"intensity_ceiling": intensity_ceiling()}))

    for name, value in scores.items():
        text = str(int(value)) if name.endswith(".n") else f"{value:.4f}"
        print(name, text)


if __name__ == "__main__":
    main()
