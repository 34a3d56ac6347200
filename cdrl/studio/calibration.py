"""Is the studio's task as hard as it should be? The `corpus.*` scores, from the truth alone, without a picture.

    python -m cdrl.studio.calibration [--people 24] [--sentences 12]

Probes: StandardScaler, LogisticRegression (C = 1). Each is fitted on one half of the report split (half of the people,
saying half of the sentences) and scored on the other, both ways round. `intensity_ceiling` is of people of its own.
"""

import argparse
from dataclasses import dataclass

import numpy as np
from scipy.stats import spearmanr
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cdrl.core.vocabulary import ACTIONS, EMOTIONS, INTENSITIES, MOUTH_INDEX, SCORED_EMOTIONS
from cdrl.studio import articulation, corpus, expression
from cdrl.studio.acting import ClipSpec, act, true_edit, utterance_of
from cdrl.studio.speech import speak_all

# Score -> lowest and highest accepted value: a task outside them is too easy or has no answer.
BOUNDS = {"corpus.emotion_from_mouth": (0.60, 0.90), "corpus.emotion_from_all": (0.0, 0.97)}


@dataclass(frozen=True)
class Truth:
    """Frames of the true coefficients and what they belong to, N frames of all clips end to end.

    Attributes:
        coefficients: (N, 52). windows: (N, 5) numbers of the frames -2 to +2 of the same clip, its ends repeated.
        emotion, viseme, half, person: (N,) labels; `half` is 0 or 1, people and sentences of the two are disjoint.
    """

    coefficients: np.ndarray
    windows: np.ndarray
    emotion: np.ndarray
    viseme: np.ndarray
    half: np.ndarray
    person: np.ndarray


def truth_of(specs: list[ClipSpec]) -> Truth:
    """Act every clip of a crossed list (see `corpus.specs`) and lay the frames end to end."""
    first_person = min(spec.person for spec in specs)
    first_half = {spec.sentence for spec in specs if spec.person == first_person}
    performances = [
        act(spec, speech)
        for spec, speech in zip(specs, speak_all([utterance_of(spec) for spec in specs]))
    ]
    lengths = [len(item.viseme) for item in performances]
    first = np.cumsum([0, *lengths[:-1]])
    windows = [
        start + np.clip(np.arange(length)[:, None] + np.arange(-2, 3), 0, length - 1)
        for start, length in zip(first, lengths)
    ]
    return Truth(
        coefficients=np.concatenate([item.coefficients for item in performances]),
        windows=np.concatenate(windows),
        emotion=np.repeat([EMOTIONS.index(spec.emotion) for spec in specs], lengths),
        viseme=np.concatenate([item.viseme for item in performances]),
        half=np.repeat([int(spec.sentence not in first_half) for spec in specs], lengths),
        person=np.repeat([spec.person for spec in specs], lengths),
    )


def probe(features: np.ndarray, labels: np.ndarray, truth: Truth) -> dict[str, float]:
    """Accuracy of a linear probe, fitted on each half and scored on the other.

    Args:
        features: (N, D). labels: (N,).

    Returns:
        "" accuracy, "chance" (majority of the fitting half), "n" frames scored, "low" and "high": 95 % of 1,000
        bootstraps over people.
    """
    right, guessed = np.zeros(len(labels)), np.zeros(len(labels))
    for half in (0, 1):
        fit, score = _some(truth.half != half), truth.half == half
        model = make_pipeline(StandardScaler(), LogisticRegression(C=1.0, max_iter=300))
        right[score] = (
            model.fit(features[fit], labels[fit]).predict(features[score]) == labels[score]
        )
        guessed[score] = np.bincount(labels[fit]).argmax() == labels[score]
    people = np.unique(truth.person)
    hits, frames = (
        np.array([values[truth.person == person].sum() for person in people])
        for values in (right, right + 1 - right)
    )
    drawn = np.random.default_rng(0).integers(len(people), size=(1000, len(people)))
    low, high = np.percentile(hits[drawn].sum(1) / frames[drawn].sum(1), [2.5, 97.5])
    return {"": right.mean(), "chance": guessed.mean(), "n": len(labels), "low": low, "high": high}


def _some(mask: np.ndarray, most: int = 20_000) -> np.ndarray:
    """Numbers of the chosen frames, or of `most` of them drawn at random."""
    rows = np.flatnonzero(mask)
    return (
        rows
        if len(rows) <= most
        else np.sort(np.random.default_rng(0).choice(rows, most, replace=False))
    )


def mouth_curves(coefficients: np.ndarray) -> np.ndarray:
    """(T, 52) -> (T, 3): jaw opening, lip width (stretch, smile and dimple minus pucker and funnel), lip rounding."""
    both = {
        name: coefficients[
            :, [ACTIONS.index(f"mouth{name}{side}") for side in ("Left", "Right")]
        ].mean(1)
        for name in ("Stretch", "Smile", "Dimple")
    }
    rounding = (
        coefficients[:, ACTIONS.index("mouthPucker")]
        + coefficients[:, ACTIONS.index("mouthFunnel")]
    )
    width = both["Stretch"] + both["Smile"] + both["Dimple"] - rounding
    return np.stack([coefficients[:, ACTIONS.index("jawOpen")], width, rounding], axis=1)


def pooled_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's r of each column of two (T, D) curves over all rows, mean of the columns; 1 for a copy, about 0 for unrelated ones."""
    first, second = ((values - values.mean(0)) / values.std(0) for values in (first, second))
    return float((first * second).mean())


def copy_mouth_correlation(specs: list[ClipSpec]) -> dict[str, float]:
    """What doing nothing scores: mouth curves of source against true edit, each source once, targets in turn."""
    source, edited = [], []
    speeches = speak_all([utterance_of(spec) for spec in specs])
    for index, (spec, speech) in enumerate(zip(specs, speeches)):
        others = [name for name in SCORED_EMOTIONS if name != spec.emotion]
        source.append(mouth_curves(act(spec, speech).coefficients))
        target = others[index % len(others)]
        edited.append(mouth_curves(true_edit(spec, target, 1 + index % 3, speech).coefficients))
    source, edited = np.concatenate(source), np.concatenate(edited)
    return {"": pooled_correlation(source, edited), "n": len(source)}


def intensity_ceiling(clips: int = 12_000, people: int = 4_000) -> dict[str, float]:
    """What can be known of a clip's level at all: Spearman's correlation of the level with what trees say that know too much.

    They are told the emotion and see every emotional action of two seconds exactly, before speech is laid over it and without a
    picture (mean and greatest), of far more people than any corpus has. A level is a scale of .42, .72 or 1 times the person's, the clip's and
    the action's own way with the emotion; somebody never seen before who does little may mean a strong emotion.

    Args:
        clips: a fifth of them, of other people, score. people: whom no split contains.

    Returns:
        "" the correlation, "n" clips that score, "chance" 0.
    """
    random, times = np.random.default_rng(9301), articulation.frame_times(50)
    moved = [name for name in SCORED_EMOTIONS if name != "neutral"]
    person, emotion = np.arange(clips) % people, random.integers(len(moved), size=clips)
    level = random.choice(INTENSITIES, clips)
    known = np.empty((clips, 2 * len(ACTIONS) + 1), np.float32)
    for k in range(clips):
        shown = expression.express(
            100_000 + int(person[k]),
            moved[emotion[k]],
            int(level[k]),
            (100_000 + int(person[k]), k),
            times,
        )
        known[k] = np.concatenate([shown.mean(0), shown.max(0), [emotion[k]]])
    fit = person < people * 4 // 5
    trees = HistGradientBoostingRegressor(max_iter=300, learning_rate=0.06, random_state=0).fit(
        known[fit], level[fit]
    )
    return {
        "": spearmanr(trees.predict(known[~fit]), level[~fit]).statistic,
        "n": (~fit).sum(),
        "chance": 0.0,
    }


def corpus_scores(specs: list[ClipSpec]) -> dict[str, float]:
    """The corpus.* scores of SCORES (name -> value; `.chance`, `.n`, `.low`, `.high` beside each)."""
    truth = truth_of(specs)
    mouth = truth.coefficients[:, MOUTH_INDEX]
    found = {
        "emotion_from_mouth": probe(mouth, truth.emotion, truth),
        "emotion_from_all": probe(truth.coefficients, truth.emotion, truth),
        "viseme_from_truth": probe(mouth, truth.viseme, truth),
        "viseme_from_truth_5_frames": probe(
            mouth[truth.windows].reshape(len(mouth), -1), truth.viseme, truth
        ),
        "copy_mouth_correlation": copy_mouth_correlation(specs),
    }
    return named(found)


def named(found: dict) -> dict[str, float]:
    """{name: {part: value}} -> {"corpus.name.part": value}; the part "" is the score itself."""
    return {
        f"corpus.{name}" + (f".{part}" if part else ""): float(value)
        for name, values in found.items()
        for part, value in values.items()
    }


def main() -> None:
    """Command line: prints the corpus.* scores of one split."""
    parser = argparse.ArgumentParser(
        description="Print the corpus.* scores of the studio's report split."
    )
    parser.add_argument("--split", default="report", choices=("report", "choose"))
    parser.add_argument("--people", type=int, default=24)
    parser.add_argument("--sentences", type=int, default=12)
    given = parser.parse_args()
    scores = corpus_scores(
        corpus.specs(given.split, people=given.people, sentences=given.sentences)
    )
    for name, value in (scores | named({"intensity_ceiling": intensity_ceiling()})).items():
        print(name, f"{value:.4f}" if not name.endswith(".n") else int(value))


if __name__ == "__main__":
    main()
