"""What the studio's people say: short sentences, one list per split, no text in two of them.

The lists for choosing and reporting are written by hand (two sentences are RAVDESS's, several
CREMA-D's, so that real clips of the same words exist); those for training and for the evaluation
networks are drawn from templates by a seeded generator.
"""

import numpy as np

REPORT = (
    "Kids are talking by the door.",  # RAVDESS 01
    "Dogs are sitting by the door.",  # RAVDESS 02
    "Don't forget a jacket.",  # CREMA-D DFA
    "We both saw the big blue ship move.",
    "Her father gave you five new books.",
    "That measure should work much better.",
    "The airplane is almost full.",  # CREMA-D TAI
    "Maybe tomorrow it will be cold.",  # CREMA-D MTI
    "Choose a warm place for the puppy.",
    "Nobody thought of the small village.",
    "Joyce put three eggs back in the bowl.",
    "They usually pay for both of us.",
)
CHOOSE = (
    "It's eleven o'clock.",  # CREMA-D IEO
    "That is exactly what happened.",  # CREMA-D ITH
    "I'm on my way to the meeting.",  # CREMA-D IOM
    "I wonder what this is about.",  # CREMA-D IWW
    "I would like a new alarm clock.",  # CREMA-D IWL
    "Give me five more of those peaches.",
    "We'll stop in a couple of minutes.",  # CREMA-D WSI
    "Both boys enjoy the television.",
    "My brother moved the heavy wooden chest.",
    "She found a beige purse on the shelf.",
    "The surface is slick.",  # CREMA-D TSI
    "You should have put it up there.",
)
SMOKE = (
    "Both of you move back.",
    "Push my purple boat.",
    "Show them a good fish.",
    "We thought you knew Joe.",
    "Buy three warm pies.",
    "She paid for both jobs.",
)
# Of people who may score and be sealed: no training hears them.
RESERVED = (
    "The bakery opens before seven.",
    "He waved from the opposite platform.",
    "Maybe the judge will pardon them both.",
    "I just put the vase on the shelf.",
    "Show me which bus goes to the beach.",
    "Your shirt is much too thin for this weather.",
    "Nobody moved until the music stopped.",
    "We usually buy peppers from the farm.",
    "My grandmother taught me how to bake.",
    "Five policemen were standing at the gate.",
    "The big lamp fell off the table.",
    "You promised to give her the purple umbrella.",
    "Both windows were open all winter.",
    "Please pass the sharp knife over here.",
    "Half of the village came to the wedding.",
    "She measured the beam with her thumb.",
    "I saw a fox in front of the museum.",
    "Perhaps the boy forgot his homework.",
    "They chose a beautiful shade of blue.",
    "Move the chair beside the fireplace.",
    "Everybody loves a good puppet show.",
    "The ferry leaves in about an hour.",
    "Who left the bath water running?",
    "Push the button twice and wait.",
)

_WHO = (
    "My father",
    "The young nurse",
    "Our teacher",
    "Her cousin",
    "Bob",
    "The mayor",
    "Phoebe",
    "That woman",
    "Your uncle",
    "Vivian",
    "The chef",
    "George",
    "This child",
    "Martha",
    "The pilot",
    "Nobody here",
    "The judge",
    "Shawn",
)
_DID = (
    "bought",
    "found",
    "moved",
    "showed me",
    "forgot",
    "washed",
    "broke",
    "painted",
    "wants",
    "loves",
    "took",
    "chose",
    "measured",
    "fixed",
    "gave us",
    "pushed",
    "enjoyed",
    "threw",
)
_KIND = (
    "big",
    "yellow",
    "thin",
    "broken",
    "usual",
    "small",
    "white",
    "heavy",
    "warm",
    "purple",
    "cheap",
    "foreign",
    "smooth",
    "royal",
    "other",
    "good",
    "vague",
    "fresh",
)
_THING = (
    "box",
    "shoe",
    "watch",
    "map",
    "jar",
    "phone",
    "bowl",
    "chair",
    "treasure",
    "van",
    "boot",
    "ship",
    "loaf",
    "bath",
    "piano",
    "cage",
    "toy",
    "mushroom",
    "coin",
    "book",
)
_PLACE = (
    "by the garage",
    "in the house",
    "near the bridge",
    "above the shop",
    "at both ends",
    "before noon",
    "for the boys",
    "with a brush",
    "on Thursday",
    "under the roof",
    "this evening",
    "without a word",
)
_DO = (
    "Put",
    "Keep",
    "Bring",
    "Throw",
    "Leave",
    "Choose",
    "Push",
    "Move",
    "Give me",
    "Show him",
    "Hold",
    "Watch",
    "Check",
)
_DOING = (
    "voted",
    "argued",
    "joked",
    "worked",
    "waited",
    "shouted",
    "fell asleep",
    "paid for it",
    "thought about it",
    "looked",
    "agreed",
    "vanished",
    "laughed",
    "moved up",
)


_WORDS = (_WHO, _DID, _KIND, _THING, _PLACE, _DO, _DOING)


def _draw(number: int, seed: int) -> list[str]:
    """Different sentences from three templates, always the same for one seed."""
    rng = np.random.default_rng(seed)
    sentences: list[str] = []
    while len(sentences) < number:
        drawn = [words[rng.integers(len(words))] for words in _WORDS]
        who, did, kind, thing, place, do, doing = drawn

        template = rng.integers(3)
        if template == 0:
            sentence = f"{who} {did} the {kind} {thing}."
        elif template == 1:
            sentence = f"{who} {doing} {place}."
        else:
            sentence = f"{do} the {kind} {thing} {place}."

        if sentence not in sentences:
            sentences.append(sentence)

    return sentences


def _number_sentences() -> dict[int, str]:
    """Sentence id -> text, over all splits."""
    texts = {}
    for split, sentences in SENTENCES.items():
        for index, text in enumerate(sentences):
            texts[FIRST_ID[split] + index] = text
    return texts


_GENERATED = _draw(340, seed=2026)
# Split -> its sentences.
SENTENCES = {
    "train": tuple(_GENERATED[:200]),
    "choose": CHOOSE,
    "report": REPORT,
    "judge": tuple(_GENERATED[200:]),
    "smoke": SMOKE,
    "reserved": RESERVED,
}
# Split -> number of its first sentence: a sentence's id says which split it belongs to.
FIRST_ID = {"train": 0, "choose": 200, "report": 300, "judge": 400, "smoke": 600, "reserved": 700}
TEXTS = _number_sentences()


def sentence_ids(split: str) -> tuple[int, ...]:
    """Ids of a split's sentences, in order.

    >>> sentence_ids("smoke")
    (600, 601, 602, 603, 604, 605)
    """
    first = FIRST_ID[split]
    return tuple(range(first, first + len(SENTENCES[split])))
