"""espeak-ng's mnemonics of American English -> the kit's phonemes (`vocabulary.PHONEMES`)."""

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import PHONEMES

# Mnemonic without stress -> phonemes that share its time equally. R-coloured and syllabic sounds are two.
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
_SHORTEST = 330  # samples at 22.05 kHz, 15 ms: espeak gives some sounds no time of their own


def to_phonemes(events: list, num_samples: int) -> tuple[list[int], list[int]]:
    """Phonemes and their first samples, in order, beginning with the silence at sample 0.

    Args:
        events: [mnemonic, first sample > 0] in order of time, as `espeak_worker` gives them.
        num_samples: length of the sound in samples of the same rate.

    Returns:
        phoneme numbers (silence 0; neighbouring silences joined) and first samples, strictly rising.

    >>> to_phonemes([["k", 500], ["'A@", 1500], ["_:", 5500]], 6000)[1]
    [0, 500, 1500, 3500, 5500]
    """
    names, start = ["sil"], [0]
    for (mnemonic, first), (_, last) in zip(events, [*events[1:], ["", num_samples]]):
        parts = FROM_ESPEAK.get(mnemonic.strip(_STRESS))
        if parts is None:
            raise InputError(
                f"espeak-ng phoneme {mnemonic!r} is not in FROM_ESPEAK (cdrl/studio/phonemes.py): add it"
            )
        for index, name in enumerate(parts):
            at = first + (last - first) * index // len(parts)
            if name == "sil" and names[-1] == "sil":
                continue
            names.append(name)
            start.append(at)
    for index in range(len(start) - 2, 0, -1):  # a sound without time takes some of the one before
        start[index] = min(start[index], start[index + 1] - _SHORTEST)
    return [PHONEMES.index(name) for name in names], start
