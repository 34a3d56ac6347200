"""Names of version 0.1.0 in committed results, cards, weights and jobs, and their present names.

Values never change. Scores are renamed where results are read (`present_name`), parts of networks
where weights are read (`present_tensor_names`). Hashes are computed over the former names
(`former_spelling`), so that work that was stored under such a hash is found again.
"""

import re
from typing import Any

# Editors in score names and in rows of the study: name in 0.1.0 -> present name.
EDITORS = {"drawn": "actions", "coefficient": "rendered"}
# Loss terms: name in 0.1.0 -> present name.
TERMS = {"steady": "temporal_smoothness"}
# Settings: name in 0.1.0 -> present name.
SETTINGS = {
    "guard": "temporal_exclusion",
    "alike": "false_negative_cosine",
    "sides": "negatives",
    "offset": "mean_swap_prob",
    "held": "short_window_prob",
    "game_weight": "adversarial_weight",
    "coefficient_steps": "manipulator_steps",
}
# Classes of settings: name in 0.1.0 -> present name.
CLASSES = {"CoefficientConfig": "ActionsConfig"}
# Parts of networks, in names of tensors: name in 0.1.0 -> present name.
PARTS = {"told": "condition_mlp", "move_and_paint": "flow_residual_head", "deviation": "std"}

_SCALE = re.compile(r"dial_(\d{3})")
_FORMER_KEYS = {present: former for former, present in (SETTINGS | TERMS).items()}
_FORMER_CLASSES = {present: former for former, present in CLASSES.items()}
_FORMER_EDITORS = {present: former for former, present in EDITORS.items()}


def present_name(name: str) -> str:
    """Return the present name of a score; a name that never changed is returned as it is.

    >>> present_name("spfem.drawn.cdrl_minus_image_constant.dial_050.mouth_error")
    'spfem.actions.cdrl_minus_image_constant.scale_050.mouth_error'
    >>> present_name("spfem.coefficient.cdrl.loss.steady")
    'spfem.rendered.cdrl.loss.temporal_smoothness'
    >>> present_name("content.viseme")
    'content.viseme'
    """
    stage, *parts = name.split(".")
    if stage != "spfem" or not parts:
        return name
    editor = EDITORS.get(parts[0], parts[0])
    renamed = [stage, editor]
    for part in parts[1:]:
        part = TERMS.get(part, part)
        renamed.append(_SCALE.sub(r"scale_\1", part))
    return ".".join(renamed)


def present_scores(scores: dict[str, Any]) -> dict[str, Any]:
    """Return scores under their present names, in the same order."""
    return {present_name(name): value for name, value in scores.items()}


def renamed_setting(name: str) -> str:
    """Return a sentence on what a setting of version 0.1.0 is called now; empty for any other name.

    >>> renamed_setting("guard")
    'guard is a setting of cdrl 0.1.0, called temporal_exclusion now'
    """
    if name not in SETTINGS:
        return ""
    return f"{name} is a setting of cdrl 0.1.0, called {SETTINGS[name]} now"


def former_row(row: str) -> str:
    """Return what a row of the study's edit table was called in 0.1.0.

    >>> former_row("actions.cdrl"), former_row("image.cdrl")
    ('drawn.cdrl', 'image.cdrl')
    """
    editor, dot, variant = row.partition(".")
    return _FORMER_EDITORS.get(editor, editor) + dot + variant


def former_spelling(value: Any) -> Any:
    """Return nested settings and loss weights under their names in 0.1.0, for a hash.

    Args:
        value: lists, mappings by name of a setting or a loss term, names of classes, numbers.

    >>> former_spelling(["ActionsConfig", {"adversarial_weight": 1.0}])
    ['CoefficientConfig', {'game_weight': 1.0}]
    """
    if isinstance(value, dict):
        renamed = {}
        for key, item in value.items():
            renamed[_FORMER_KEYS.get(key, key)] = former_spelling(item)
        return renamed
    if isinstance(value, (list, tuple)):
        return [former_spelling(item) for item in value]
    if isinstance(value, str):
        return _FORMER_CLASSES.get(value, value)
    return value


def present_tensor_names(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state dict under the names that parts of networks have now, in the same order.

    >>> list(present_tensor_names({"style_encoder.deviation": 0, "told.0.bias": 0}))
    ['style_encoder.std', 'condition_mlp.0.bias']
    """
    renamed = {}
    for name, tensor in state.items():
        parts = [PARTS.get(part, part) for part in name.split(".")]
        renamed[".".join(parts)] = tensor
    return renamed
