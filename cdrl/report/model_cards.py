"""data/weights/README.md: a description of every committed network, from the cards beside them."""

import json
from pathlib import Path
from typing import Any

from cdrl.core.errors import InputError
from cdrl.core.files import atomic_path, read_json
from cdrl.core.results import score_lines
from cdrl.recipes import RECIPES

TITLE = "# The networks that lie here"
INTRO = f"""{TITLE}

Written by `cdrl train --cards` from the card beside each file; edit the cards, or the command's
text in `cdrl/report/model_cards.py`. All but those of `real/` were trained by this kit on rendered
people of the studio, who do not exist; none of these has seen a recording of a person. Those of
`real/` were trained by others on real faces and converted; they serve the evaluation alone.

**For all of them.** Meant for research on the separation of speech and expression, and for
teaching. Small, trained on rendered faces and synthetic speech in English: what they say of real
people is not validated. Not for judging what a person feels, not for recognising people, not for
editing anyone who did not consent. Scores are on people and sentences of the split that is named,
with chance where it is known.
"""
EVALUATION_ONLY = "an evaluation network: never train against it, or its verdict is worth nothing"
SHARED_PEOPLE = "640 of its 1,280 people are also the training people of CCRL, CERL and the editors"
# What a network is not good for, besides what holds for all.
LIMITS = {
    "audio_prior": (
        "learnt from espeak-ng voices alone; the people it is scored on speak with espeak variants "
        "that training heard too; not measured on recorded speech"
    ),
    "face_backbone": (
        "learnt from exact coefficients, which no real corpus has; each action's r2 is in its "
        "card, the jaw's forward move and gaze up the least; " + SHARED_PEOPLE
    ),
    "mouth_backbone": "as face_backbone; sees the mouth's box alone",
    "face_identity": "tells rendered heads apart; for the study's ablation only",
    "mouth_identity": "as face_identity, from the mouth's box",
    "language_prior": (
        "knows captions of facial actions and emotion words only through them; no substitute for "
        "CLIP where words are free"
    ),
    "judge_a": EVALUATION_ONLY,
    "judge_b": EVALUATION_ONLY,
    "tracker": (
        "an evaluation network: never train against it; how well it reads each action is in its "
        "card; a wider ShuffleNet-v2, the family of judge_a"
    ),
    "identity": "an evaluation network for rendered heads; no face recognition",
    "guidance/content": "needs five frames or more; at a clip's ends its window is held",
    "guidance/emotion": (
        "reads what it was trained with: a generator guided by it can please it without changing "
        "much"
    ),
    "generator": (
        "moves and shades what the source shows and paints brightness only, at most 0.3, around "
        "eyes and mouth; real people need a fit (`cdrl edit --editor image --fit`)"
    ),
    "action_tracker": SHARED_PEOPLE + "; on real faces it reads eyes and brows poorly",
    "mesh_tracker": (
        "reads changes from the face that a clip shows most, coarsely: movements of one frame, "
        "gaze and tongue are not in it; made to be mixed with action_tracker"
    ),
    "action_renderer": (
        "learnt from the changes of the facial-action editor with CDRL, which favours that editor; "
        "draws what the tracker reads and the editor changes, and is no better than they read a "
        "face; teeth and tongue that the source hides are guessed; on real people brows may "
        "thicken and teeth streak, and surprised opens lips that were closed"
    ),
    "default_renderer": (
        "as action_renderer; met rendered people alone, and the tracker that told it their actions "
        "reads those people badly, so it looks at the picture; teeth still stretch in surprise"
    ),
    "generator_start": "has seen no guidance: a start for training, not an editor",
    "generator_start_discriminator": (
        "the discriminator of generator_start, kept so that training can go on; reads nothing by "
        "itself"
    ),
}
# First lines of networks that no recipe of their own makes.
DESCRIPTIONS = {
    "guidance/content": "CCRL's encoder: what is said, from the image alone.",
    "guidance/emotion": (
        "CERL's encoder, its learnt prompts and the prototypes of labels and levels "
        "(`targets.safetensors`)."
    ),
    "action_renderer": (
        "The neural renderer of the facial-action editor: a source and a change of its facial "
        "actions -> the changed picture; `actions_plain` of `cdrl edit`."
    ),
    "default_renderer": (
        "The neural renderer of the default editor of `cdrl edit`: shades wrinkles and the inside "
        "of a mouth too."
    ),
    "generator_start_discriminator": (
        "Real or edited, and which emotion: the adversary of generator_start."
    ),
    "real/expression": "Seven emotions from a real face, after face-api.js.",
    "real/expression_fer": "Seven emotions from a real face, trained on FER2013.",
    "real/identity": "An embedding of a real face for the same person's edit.",
    "real/landmarks": "Landmarks of a real face.",
}
NUM_SCORES = 8  # of a card that are shown; all are in its JSON file


def write_cards(folder: Path) -> Path:
    """Write README.md into a folder of weights.

    Args:
        folder: with NAME.safetensors and NAME.json, as data/weights.

    Returns:
        Path of README.md.

    Raises:
        InputError: where weights have no card, or README.md was not written by this command.
    """
    out = Path(folder) / "README.md"
    if out.exists() and not out.read_text().startswith(TITLE):
        raise InputError(
            f"{out}: not written by this command, so it is not replaced; rename it, or give "
            "another --out"
        )

    text = cards_text(folder)
    with atomic_path(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return out


def cards_text(folder: Path) -> str:
    """The page of all cards of a folder, names ascending.

    Args:
        folder: with NAME.safetensors and NAME.json, as data/weights.

    Raises:
        InputError: where weights have no card, or there are none.
    """
    folder = Path(folder)
    weights = {}
    for path in folder.rglob("*.safetensors"):
        relative = path.relative_to(folder)
        if path.stem == "model":
            weights[str(relative.parent)] = path
        elif path.stem != "targets":  # belongs to guidance/emotion
            weights[str(relative.with_suffix(""))] = path
    if not weights:
        raise InputError(
            f"{folder}: no .safetensors file here; give the folder of the weights, as data/weights"
        )

    entries = [_entry(name, weights[name]) for name in sorted(weights)]
    return INTRO + "".join(entries)


def _entry(name: str, weights: Path) -> str:
    """The section of one network."""
    card_path = weights.with_suffix(".json")
    if not card_path.exists():
        raise InputError(
            f"{card_path}: the card of these weights is missing: git checkout data/weights, or "
            f"cdrl train {name}"
        )

    remedy = f"git checkout data/weights, or cdrl train {name}"
    card = read_json(card_path, fields={"command": str, "model": dict}, remedy=remedy)
    limits = card.get("limits") or card.get("use") or LIMITS.get(name, "those of all")
    rows = {
        "made by": f"`{card['command']}`",
        "trained on": _training_data(card),
        "truth it saw": card.get("truth", "its own labels, see trained on"),
        "scores": _scores(card),
        "form": _form(card, weights),
        "licence": card.get("licence", "Apache-2.0"),
        "limits": limits,
    }
    if "source" in card:
        rows["source"] = card["source"]
    lines = [f"| {key} | {value} |\n" for key, value in rows.items()]
    return f"\n## {name}\n{_description(name, card)}\n\n| | |\n|---|---|\n{''.join(lines)}"


def _description(name: str, card: dict[str, Any]) -> str:
    """What a network computes, in one line."""
    if name in DESCRIPTIONS:
        return DESCRIPTIONS[name]
    recipe = RECIPES.get(name)
    if recipe is not None:
        return recipe.summary
    return card.get("what", "A network of this kit.")


def _training_data(card: dict[str, Any]) -> str:
    """The data and the length of a network's training."""
    if card.get("trained_on"):
        return card["trained_on"]
    if "steps" in card:
        return f"{card['truth']}, {card['steps']} steps"
    return card["truth"]


def _scores(card: dict[str, Any]) -> str:
    """The first scores of a card, with their chance levels, and the data that they are of."""
    scores = {}
    for name, value in card.get("scores", {}).items():
        if "." not in name.removesuffix(".chance"):
            scores[name] = value

    if not scores and "source" in card:
        return "none of this kit's"
    text = ", ".join(score_lines(scores)[:NUM_SCORES]) or "none of its own"
    data = card.get("held_out") or "no held-out set: the last values of the training terms"
    return f"{text} ({data})"


def _form(card: dict[str, Any], weights: Path) -> str:
    """Arguments, seed, size and checksum of a network."""
    arguments = json.dumps(card["model"]) if card["model"] else "defaults of its class"
    parts = [arguments]
    if "seed" in card:
        parts.append(f"seed {card['seed']}")
    if "parameters" in card:
        parts.append(f"{card['parameters']:,} parameters")
    parts.append(f"{weights.stat().st_size / 1e6:.2f} MB")
    if "sha256" in card:
        parts.append(f"sha256 {card['sha256'][:16]}...")

    return ", ".join(parts)
