"""espeak-ng's mnemonics of American English -> the kit's phonemes (`vocabulary.PHONEMES`)."""

from collections.abc import Sequence

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import PHONEMES

# Mnemonic without stress -> phonemes that share its time equally. R-coloured and syllabic sounds
# are two.
FROM_ESPEAK = {
    "_": ("sil",),
    "_:": ("sil",),
    "_|": ("sil",),
    "?": ("sil",),
    "p": ("P",),
    "b": ("B",),
    "m": ("M",),
    "f": ("F",),
    "v": ("V",),
    "T": ("TH",),
    "D": ("DH",),
    "t": ("T",),
    "t2": ("T",),
    "t#": ("D",),
    "d": ("D",),
    "k": ("K",),
    "g": ("G",),
    "N": ("NG",),
    "n": ("N",),
    "n-": ("AX", "N"),
    "h": ("HH",),
    "tS": ("CH",),
    "dZ": ("JH",),
    "S": ("SH",),
    "Z": ("ZH",),
    "s": ("S",),
    "z": ("Z",),
    "l": ("L",),
    "@L": ("AX", "L"),
    "r": ("R",),
    "r-": ("R",),
    "j": ("Y",),
    ";": ("Y",),
    "w": ("W",),
    "a": ("AE",),
    "aa": ("AE",),
    "A:": ("AA",),
    "A": ("AA",),
    "0": ("AA",),
    "A#": ("AA",),
    "V": ("AH",),
    "@": ("AX",),
    "a#": ("AX",),
    "@2": ("AX",),
    "@5": ("AX",),
    "I#": ("IH",),
    "I2": ("IH",),
    "I": ("IH",),
    "i": ("IY",),
    "i:": ("IY",),
    "E": ("EH",),
    "E#": ("EH",),
    "eI": ("EY",),
    "aI": ("AY",),
    "aU": ("AW",),
    "OI": ("OY",),
    "oU": ("OW",),
    "O:": ("AO",),
    "O2": ("AO",),
    "O": ("AO",),
    "U": ("UH",),
    "u:": ("UW",),
    "u": ("UW",),
    "3": ("ER",),
    "3:": ("ER",),
    "A@": ("AA", "R"),
    "O@": ("AO", "R"),
    "o@": ("AO", "R"),
    "e@": ("EH", "R"),
    "i@": ("IY", "AX"),
    "i@3": ("IY", "R"),
    "U@": ("UH", "R"),
    "aI@": ("AY", "AX"),
    "aI3": ("AY", "ER"),
    "aU@": ("AW", "AX"),
}
_STRESS = "',%=|~"
_SILENCE = "sil"
_SHORTEST = 330  # samples at 22.05 kHz, 15 ms: espeak gives some sounds no time of their own


def to_phonemes(events: Sequence[tuple[str, int]], num_samples: int) -> tuple[list[int], list[int]]:
    """Phonemes and their first samples, in order, beginning with the silence at sample 0.

    Args:
        events: (mnemonic, first sample > 0) in order of time, as `espeak_worker` gives them.
        num_samples: length of the sound in samples of the same rate.

    Returns:
        Phoneme numbers (silence 0; neighbouring silences joined) and first samples, strictly
        rising.

    Raises:
        InputError: a mnemonic that the table lacks.

    >>> to_phonemes([("k", 500), ("'A@", 1500), ("_:", 5500)], 6000)[1]
    [0, 500, 1500, 3500, 5500]
    """
    names = [_SILENCE]
    starts = [0]
    ends = [first for _, first in events[1:]]
    ends.append(num_samples)

    for (mnemonic, first), end in zip(events, ends, strict=False):
        parts = _phonemes_of(mnemonic)
        for index, name in enumerate(parts):
            if name == _SILENCE and names[-1] == _SILENCE:
                continue
            names.append(name)
            starts.append(first + (end - first) * index // len(parts))

    _lengthen(starts)
    numbers = [PHONEMES.index(name) for name in names]

    return numbers, starts


def _phonemes_of(mnemonic: str) -> tuple[str, ...]:
    parts = FROM_ESPEAK.get(mnemonic.strip(_STRESS))
    if parts is None:
        raise InputError(
            f"espeak-ng phoneme {mnemonic!r} is not in FROM_ESPEAK (cdrl/studio/phonemes.py): add "
            "it"
        )
    return parts


def _lengthen(starts: list[int]) -> None:
    """Give a sound without time some of the time of the one before, in place."""
    for index in range(len(starts) - 2, 0, -1):
        latest = starts[index + 1] - _SHORTEST
        starts[index] = min(starts[index], latest)
