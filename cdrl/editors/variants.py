"""The variants of the editors as weights of loss terms.

What all variants share, and what CDRL guidance adds to it.
"""

from cdrl.core.errors import InputError
from cdrl.core.settings import ActionsConfig, GeneratorConfig

Weights = dict[str, float]

GUIDED = ("content", "emotion")  # the terms of CDRL guidance
ADVERSARIAL = ("discriminator", "adversarial")
# Weights of the guided terms; this and nothing else tells these variants apart.
GUIDANCE_WEIGHTS: dict[str, Weights] = {
    "baseline": {"content": 0.0, "emotion": 0.0},
    "content": {"content": 2.0, "emotion": 0.0},
    "emotion": {"content": 0.0, "emotion": 2.0},
    "cdrl": {"content": 2.0, "emotion": 2.0},
}


def guided_variants(shared: Weights) -> dict[str, Weights]:
    """Weights of baseline, content, emotion and cdrl: the shared terms and those of guidance."""
    variants = {}
    for name, guidance in GUIDANCE_WEIGHTS.items():
        variants[name] = shared | guidance
    return variants


def without(weights: Weights, *names: str) -> Weights:
    """Weights of all terms but those named."""
    remaining = {}
    for name, value in weights.items():
        if name not in names:
            remaining[name] = value
    return remaining


# What every variant of the image editor shares. The adversarial terms alone decide which emotion
# appears; the others keep the face a face.
IMAGE_SHARED: Weights = {
    "discriminator": 1.0,
    "adversarial": 0.3,
    "cycle": 5.0,
    "reconstruction": 10.0,
    "bending": 20.0,
    "stretching": 100.0,
    "asymmetry": 40.0,
    "shading": 2.0,
    "residual": 30.0,
    "temporal_smoothness": 50.0,
}
IMAGE_VARIANTS = guided_variants(IMAGE_SHARED)
# The weights that the paper's release gives its own losses.
IMAGE_VARIANTS["released"] = IMAGE_SHARED | {"content": 10.0, "emotion": 50.0}
# The upper bound: the true edit says what is wanted, so no term is adversarial or guided.
IMAGE_PAIRED = without(IMAGE_SHARED, *ADVERSARIAL) | {"truth": 100.0}
# The committed start is held closer to its source: the variants shall begin with clean edits, not
# with strong ones.
IMAGE_START = IMAGE_SHARED | {"reconstruction": 15.0}
# The fit to a person has no adversarial term: a discriminator would learn a handful of clips by
# heart.
IMAGE_FIT = without(IMAGE_VARIANTS["cdrl"], *ADVERSARIAL)

# What every variant of the action manipulator shares: the terms of NED's manipulator
# (arXiv:2112.00585), and the size of the motion added.
ACTION_SHARED: Weights = {
    "discriminator": 1.0,
    "adversarial": 0.3,
    "cycle": 1.0,
    "reconstruction": 1.0,
    "style": 0.2,
    "speech": 1.0,
    "temporal_smoothness": 1.0,
}
ACTION_VARIANTS = guided_variants(ACTION_SHARED)
ACTION_VARIANTS["paired"] = {"paired": 1.0, "style": 0.2, "temporal_smoothness": 0.0}


def image_weights(variant: str, config: GeneratorConfig) -> Weights:
    """The weights of a variant of the image editor, with the strengths of the configuration.

    Raises:
        InputError: for a variant that is not in `IMAGE_VARIANTS`.
    """
    factors = {
        "content": config.content_weight,
        "emotion": config.emotion_weight,
        "adversarial": config.adversarial_weight,
    }
    return _scaled(IMAGE_VARIANTS, variant, factors, "image editor")


def action_weights(variant: str, config: ActionsConfig) -> Weights:
    """The weights of a variant of the action manipulator, with the strengths of the configuration.

    Raises:
        InputError: for a variant that is not in `ACTION_VARIANTS`.
    """
    factors = {
        "content": config.content_weight,
        "emotion": config.emotion_weight,
        "adversarial": config.adversarial_weight,
        "speech": config.speech_weight,
    }
    return _scaled(ACTION_VARIANTS, variant, factors, "action manipulator")


def _scaled(
    variants: dict[str, Weights], variant: str, factors: dict[str, float], network: str
) -> Weights:
    if variant not in variants:
        raise InputError(
            f"unknown variant {variant!r} of the {network}: accepted are {', '.join(variants)}"
        )
    weights = {}
    for name, value in variants[variant].items():
        weights[name] = value * factors.get(name, 1.0)
    return weights


def measurable_weights(weights: Weights, guided: bool, variant: str) -> Weights:
    """The weights of the terms that can be measured: without guidance, its terms are left out.

    Args:
        weights: of a variant.
        guided: whether there is guidance.
        variant: its name, for the message.

    Raises:
        InputError: where guidance is missing and one of its terms has a weight.
    """
    if guided:
        return weights
    for name in GUIDED:
        if weights.get(name):
            raise InputError(
                f"variant {variant!r} needs guidance: run notebooks 02 and 03 (or `cdrl run`) "
                "first, and distil it where facial actions are edited"
            )
    return without(weights, *GUIDED)
