"""Words that every part of the kit shares: emotions, visemes, facial actions, phonemes.

Each corpus has a table of its own spelling.
"""

from difflib import get_close_matches

from cdrl.core.errors import InputError

# MEAD's spelling, alphabetical; the order of every label, prompt and confusion matrix of the kit.
EMOTIONS = ("angry", "contempt", "disgusted", "fear", "happy", "neutral", "sad", "surprised")
# The seven that are scored. MEAD's contempt is not in CREMA-D, in RAVDESS or in the paper.
SCORED_EMOTIONS = tuple(name for name in EMOTIONS if name != "contempt")
# 1 to 3 as in MEAD; neutral has level 1 only.
INTENSITIES = (1, 2, 3)

# 15 mouth shapes; `sil` is rest. The set used by lip-sync toolkits since Oculus LipSync.
VISEMES = ("sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "aa", "E", "ih", "oh", "ou")

# ARKit's 52 blend-shape locations, alphabetical.
ACTIONS = (
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "eyeLookDownLeft",
    "eyeLookDownRight",
    "eyeLookInLeft",
    "eyeLookInRight",
    "eyeLookOutLeft",
    "eyeLookOutRight",
    "eyeLookUpLeft",
    "eyeLookUpRight",
    "eyeSquintLeft",
    "eyeSquintRight",
    "eyeWideLeft",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthFunnel",
    "mouthLeft",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "noseSneerLeft",
    "noseSneerRight",
    "tongueOut",
)
# The actions of the mouth: what `true mouth coefficients` means in every score.
MOUTH_ACTIONS = tuple(name for name in ACTIONS if name.startswith(("jaw", "mouth", "tongue")))
MOUTH_INDEX = tuple(ACTIONS.index(name) for name in MOUTH_ACTIONS)

# Spellings of other corpora -> ours. MEAD's are ours.
CREMA_D_EMOTIONS = {
    "ANG": "angry",
    "DIS": "disgusted",
    "FEA": "fear",
    "HAP": "happy",
    "NEU": "neutral",
    "SAD": "sad",
}
RAVDESS_EMOTIONS = {
    "01": "neutral",
    "02": "calm",
    "03": "happy",
    "04": "sad",
    "05": "angry",
    "06": "fear",
    "07": "disgusted",
    "08": "surprised",
}
# Emotions of other corpora that the kit does not know. Their clips are left out with this reason.
FOREIGN_EMOTIONS = {
    "calm": "calm is of RAVDESS alone, neither in the paper's seven nor in the kit's eight"
}
# The word for a clip whose emotion nobody labelled, and its number, which no cross-entropy counts.
UNLABELLED = "unlabelled"
NO_LABEL = -100
# Other words for ours, as people write them in folder names and label files.
SPELLINGS = {
    "anger": "angry",
    "contemptuous": "contempt",
    "disgust": "disgusted",
    "fearful": "fear",
    "afraid": "fear",
    "scared": "fear",
    "happiness": "happy",
    "joy": "happy",
    "sadness": "sad",
    "surprise": "surprised",
}


def emotion_index(name: str) -> int:
    """Return the position of an emotion in `EMOTIONS`.

    Args:
        name: one of `EMOTIONS`.

    Raises:
        InputError: for any other word; the nearest and the accepted ones are named.

    >>> emotion_index("happy")
    4
    """
    if name not in EMOTIONS:
        nearest = get_close_matches(str(name).lower(), EMOTIONS, n=1, cutoff=0.5)
        hint = f" (did you mean {nearest[0]}?)" if nearest else ""
        raise InputError(f"unknown emotion {name!r}{hint}: accepted are {', '.join(EMOTIONS)}")
    return EMOTIONS.index(name)


def label_index(name: str) -> int:
    """Return the number of an emotion that a clip of a corpus is labelled with.

    Args:
        name: one of `EMOTIONS`, or `UNLABELLED`.

    Raises:
        InputError: as `emotion_index`.

    >>> label_index("unlabelled")
    -100
    """
    return NO_LABEL if name == UNLABELLED else emotion_index(name)


def read_emotion(text: str) -> str:
    """Return the kit's word for an emotion in another spelling.

    Args:
        text: as a folder or a label file spells it. A word of `FOREIGN_EMOTIONS` stays as it is,
            and so does `UNLABELLED`.

    Raises:
        InputError: as `emotion_index`.

    >>> read_emotion("Disgust")
    'disgusted'
    """
    spelled = text.strip().lower()
    word = SPELLINGS.get(spelled, spelled)
    if word not in FOREIGN_EMOTIONS and word != UNLABELLED:
        emotion_index(word)
    return word


# ARPAbet without stress, silence first; AX is the schwa. The `phoneme` of a studio frame is an
# index into it.
PHONEMES = (
    "sil",
    "AA",
    "AE",
    "AH",
    "AO",
    "AW",
    "AX",
    "AY",
    "B",
    "CH",
    "D",
    "DH",
    "EH",
    "ER",
    "EY",
    "F",
    "G",
    "HH",
    "IH",
    "IY",
    "JH",
    "K",
    "L",
    "M",
    "N",
    "NG",
    "OW",
    "OY",
    "P",
    "R",
    "S",
    "SH",
    "T",
    "TH",
    "UH",
    "UW",
    "V",
    "W",
    "Y",
    "Z",
    "ZH",
)
# The mouth shape of a phoneme; of a diphthong, its first and longer half.
PHONEME_TO_VISEME = {
    "sil": "sil",
    "P": "PP",
    "B": "PP",
    "M": "PP",
    "F": "FF",
    "V": "FF",
    "TH": "TH",
    "DH": "TH",
    "T": "DD",
    "D": "DD",
    "K": "kk",
    "G": "kk",
    "NG": "kk",
    "HH": "kk",
    "CH": "CH",
    "JH": "CH",
    "SH": "CH",
    "ZH": "CH",
    "S": "SS",
    "Z": "SS",
    "N": "nn",
    "L": "nn",
    "R": "RR",
    "ER": "RR",
    "AA": "aa",
    "AE": "aa",
    "AH": "aa",
    "AY": "aa",
    "AW": "aa",
    "EH": "E",
    "EY": "E",
    "AX": "E",
    "IH": "ih",
    "IY": "ih",
    "Y": "ih",
    "AO": "oh",
    "OW": "oh",
    "OY": "oh",
    "UH": "ou",
    "UW": "ou",
    "W": "ou",
}
# (41,) viseme index of each phoneme index.
VISEME_OF_PHONEME = tuple(VISEMES.index(PHONEME_TO_VISEME[name]) for name in PHONEMES)
