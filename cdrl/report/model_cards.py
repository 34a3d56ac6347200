"""data/weights/README.md: what every committed network is, out of the cards that lie beside the weights."""

import json
import os
from pathlib import Path

from cdrl.core.errors import InputError
from cdrl.core.files import read_json
from cdrl.core.results import score_lines
from cdrl.recipes import RECIPES

TITLE = "# The networks that lie here"
INTRO = f"""{TITLE}

Written by `cdrl train --cards` from the card beside each file; edit the cards, or the command's text in `cdrl/report/model_cards.py`.
All were trained by this kit on rendered people of the studio, who do not exist; none has seen a recording of a person.

**For all of them.** Meant for research on the separation of speech and expression, and for teaching. Small, trained on rendered faces and
synthetic speech in English: what they say of real people is not validated. Not for judging what a person feels, not for recognising
people, not for editing anyone who did not consent. Scores are on people and sentences of the split that is named, with chance where it is known.
"""
# What a network is not good for, besides what holds for all.
LIMITS = {
    "audio_prior": "learnt from espeak-ng voices alone; the people it is scored on speak with espeak variants that training heard too; not measured on recorded speech",
    "face_backbone": "learnt from exact coefficients, which no real corpus has; each action's r2 is in its card, the jaw's forward move and gaze up the least; "
    "640 of its 1,280 people are also the training people of CCRL, CERL and the hosts",
    "mouth_backbone": "as face_backbone; sees the mouth's box alone",
    "face_identity": "tells rendered heads apart; for the study's ablation only",
    "mouth_identity": "as face_identity, from the mouth's box",
    "language_prior": "knows captions of facial actions and emotion words only through them; no substitute for CLIP where words are free",
    "judge_a": "an evaluation network: never train against it, or its verdict is worth nothing",
    "judge_b": "an evaluation network: never train against it, or its verdict is worth nothing",
    "tracker": "an evaluation network: never train against it; how well it reads each action is in its card; a wider ShuffleNet-v2, the family of judge_a",
    "identity": "an evaluation network for rendered heads; no face recognition",
    "guidance/content": "needs five frames or more; at a clip's ends its window is held",
    "guidance/emotion": "reads what it was trained with: a generator guided by it can please it without changing much",
    "generator": "moves and shades what the source shows and paints brightness only, at most 0.3, around eyes and mouth; real people need a fit "
    "(`cdrl edit --fit`)",
    "action_tracker": "640 of its 1,280 people are also the training people of CCRL, CERL and the hosts; on real faces it reads eyes and brows poorly",
    "action_renderer": "learnt from changes that the host with CDRL asked for, which favours that host; draws what the action reader and the coefficient host ask for, and is no better than they read a face; teeth and tongue that the "
    "source hides are guessed; on real people brows may thicken and teeth streak, surprised opens lips that were closed, and no fit is made for it",
    "generator_start": "has seen no guidance: a start for training, not an editor",
    "generator_start_discriminator": "the opponent of generator_start, kept so that training can go on; reads nothing by itself",
}
WORDS = {
    "guidance/content": "CCRL's encoder: what is said, from the image alone.",
    "guidance/emotion": "CERL's encoder, its learnt prompts and the prototypes of labels and levels (`targets.safetensors`).",
    "action_renderer": "The coefficient host's neural renderer: a source and a change of its facial actions -> the changed picture; what `cdrl edit` takes where nothing is named.",
    "generator_start_discriminator": "Real or edited, and which emotion: the other side of generator_start's game.",
}
SHOWN = 8  # scores of a card that are told; all are in its json


def write_cards(folder: Path) -> Path:
    """Writes README.md into a folder of weights.

    Args:
        folder: with NAME.safetensors and NAME.json, as data/weights.

    Raises:
        InputError: where weights lie without a card, or README.md is somebody's own.
    """
    out = Path(folder) / "README.md"
    if out.exists() and not out.read_text().startswith(TITLE):
        raise InputError(
            f"{out}: not written by this command, so it is not replaced; rename it, or give another --out"
        )
    text, temporary = cards_text(folder), out.with_name(f".{out.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(out)
    return out


def cards_text(folder: Path) -> str:
    """The page of all cards of a folder, names ascending.

    Raises:
        InputError: where weights lie without a card, or there are none.
    """
    folder = Path(folder)
    files = {
        path.relative_to(folder): path
        for path in folder.rglob("*.safetensors")
        if path.stem != "targets"
    }
    if not files:
        raise InputError(
            f"{folder}: no .safetensors file here; give the folder of the weights, as data/weights"
        )
    names = {
        str(short.parent if short.stem == "model" else short.with_suffix("")): path
        for short, path in files.items()
    }
    return INTRO + "".join(_card(name, names[name]) for name in sorted(names))


def _card(name: str, path: Path) -> str:
    if not path.with_suffix(".json").exists():
        raise InputError(
            f"{path.with_suffix('.json')}: the card of these weights is missing: git checkout data/weights, or cdrl train {name}"
        )
    card = read_json(path.with_suffix(".json"))
    recipe = RECIPES.get(name)
    what = WORDS.get(name) or (
        recipe.__doc__.splitlines()[0] if recipe else card.get("what", "A network of this kit.")
    )
    scores = {
        key: value
        for key, value in card.get("scores", {}).items()
        if "." not in key or key.endswith(".chance")
    }
    told = ", ".join(score_lines(scores)[:SHOWN]) or "none of its own"
    where = card.get("held_out") or "no held-out set: the last values of the training terms"
    steps = [f"{card['steps']} steps"] if "steps" in card else []
    seed = [f"seed {card['seed']}"] if "seed" in card else []
    model = json.dumps(card["model"]) if card["model"] else "defaults of its class"
    size = [f"{card['parameters']:,} parameters"] if "parameters" in card else []
    checked = [f"sha256 {card['sha256'][:16]}..."] if "sha256" in card else []
    rows = {
        "made by": f"`{card['command']}`",
        "trained on": card.get("trained_on") or ", ".join([card["truth"], *steps]),
        "truth it saw": card["truth"],
        "scores": f"{told} ({where})",
        "form": ", ".join([model, *seed, *size, f"{path.stat().st_size / 1e6:.2f} MB", *checked]),
        "licence": card.get("licence", "Apache-2.0"),
        "limits": card.get("limits") or LIMITS.get(name, "those of all"),
    }
    return f"\n## {name}\n{what}\n\n| | |\n|---|---|\n" + "".join(
        f"| {key} | {value} |\n" for key, value in rows.items()
    )
