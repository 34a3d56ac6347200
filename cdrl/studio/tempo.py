"""How an emotion paces a sentence: pauses between words, words that are drawn out or hurried.

A single rate cannot say it: two emotions of version 2 are no straight lines of each other, as those
of real people are none. The result is SSML, which espeak-ng reads.
"""

from typing import NamedTuple

import numpy as np


class Tempo(NamedTuple):
    """What an emotion at level 3 does to the words of a sentence.

    Attributes:
        pauses: mean number of pauses inside a sentence.
        pause_seconds: mean length of one.
        early: -1 pauses late, 0 anywhere, 1 early in the sentence.
        slope: change of the logarithm of the rate from the first to the last word.
        stress: change of the logarithm of the rate of the one word that is stressed.
        scatter: standard deviation of the logarithm of the rate over words.
    """

    pauses: float
    pause_seconds: float
    early: float
    slope: float
    stress: float
    scatter: float


TEMPI = {
    "angry": Tempo(1.0, 0.26, 0.0, 0.15, -0.55, 0.16),
    "contempt": Tempo(1.0, 0.40, -0.6, -0.45, -0.30, 0.12),
    "disgusted": Tempo(1.1, 0.42, 0.5, -0.25, -0.50, 0.14),
    "fear": Tempo(1.6, 0.30, 0.7, 0.50, -0.20, 0.24),
    "happy": Tempo(0.5, 0.20, -0.3, 0.10, -0.45, 0.20),
    "neutral": Tempo(0.3, 0.15, 0.0, 0.0, -0.10, 0.06),
    "sad": Tempo(1.7, 0.52, -0.2, -0.40, -0.25, 0.16),
    "surprised": Tempo(1.1, 0.42, 0.8, 0.45, -0.50, 0.16),
}
# Nobody pauses after these words: they belong to the next one.
_CLITICS = (
    "a an the my your her his our this that these those of in on at by for to with from under "
    "near and who is are was were i he she we they it you don't please no before above"
)
_MOST_PAUSES = 3
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.08, 1.1  # seconds
_LEAST_RATE, _MOST_RATE = 0.45, 1.9


def paced(text: str, emotion: str, scale: float, rng: np.random.Generator) -> str:
    """A text as SSML, at the tempo of an emotion.

    Args:
        text: English words.
        emotion: one of `vocabulary.EMOTIONS`.
        scale: of the emotion's tempo: 1 is level 3 of an average person.
        rng: of the utterance.

    >>> paced("Push it.", "neutral", 0, np.random.default_rng(0))
    '<speak><prosody rate="100%">Push</prosody> <prosody rate="100%">it.</prosody></speak>'
    """
    tempo = TEMPI[emotion]
    words = text.split()
    rates = _word_rates(len(words), tempo, scale, rng)
    pauses = _pause_seconds(words, tempo, scale, rng)

    parts = []
    for word, rate, pause in zip(words, rates, pauses, strict=True):
        part = f'<prosody rate="{round(100 * rate)}%">{word}</prosody>'
        if pause > 0:
            part += f'<break time="{round(1000 * pause)}ms"/>'
        parts.append(part)

    return f"<speak>{' '.join(parts)}</speak>"


def _word_rates(num_words: int, tempo: Tempo, scale: float, rng: np.random.Generator) -> np.ndarray:
    """(W,) factor of the rate of each word."""
    along = np.linspace(-0.5, 0.5, num_words)
    log_rate = tempo.slope * along + tempo.scatter * rng.normal(0, 1, num_words)
    log_rate[rng.integers(num_words)] += tempo.stress

    return np.clip(np.exp(log_rate * scale), _LEAST_RATE, _MOST_RATE)


def _pause_seconds(
    words: list[str], tempo: Tempo, scale: float, rng: np.random.Generator
) -> np.ndarray:
    """(W,) seconds of silence after each word, most of them 0."""
    clitics = _CLITICS.split()
    places = []
    for index, word in enumerate(words[:-1]):
        if word.lower() not in clitics:
            places.append(index)

    seconds = np.zeros(len(words))
    wanted = rng.poisson(tempo.pauses * min(scale, 1.5))
    number = min(wanted, len(places), _MOST_PAUSES)
    if number == 0:
        return seconds

    position = np.array(places) / max(len(words) - 1, 1)
    odds = np.exp(-3 * tempo.early * position)
    chosen = rng.choice(places, number, replace=False, p=odds / odds.sum())
    lengths = tempo.pause_seconds * rng.lognormal(0, 0.35, number) * np.sqrt(scale)
    seconds[chosen] = np.clip(lengths, _SHORTEST_PAUSE, _LONGEST_PAUSE)

    return seconds
