"""Encoders and losses of CCRL and CERL: the kit's, or the user's in their place.

What the user gives is tried on a small random batch before any work is done. Its name stands in the
card of the encoder, but code is never imported by a card, see `cdrl.core.user_code`.
"""

import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from cdrl.core.checkpoint import load_card, load_network
from cdrl.core.errors import InputError
from cdrl.core.settings import ContentConfig, EmotionConfig
from cdrl.core.user_code import INTERFACES, given, identity
from cdrl.core.vocabulary import EMOTIONS
from cdrl.losses.contrastive import info_nce, supervised_contrastive
from cdrl.models.content import ContentEncoder
from cdrl.models.emotion import EmotionEncoder
from cdrl.priors.features import Features

Loss = Callable[..., torch.Tensor]

CODE = "code"  # entry of a card: name and hash of the user's class
CONTEXT_TOKENS = 8  # learnable words before the description of an emotion
TRIAL_BATCH = 6
TRIAL_CANDIDATES = 8
NORM_TOLERANCE = 1e-3


# Losses


def content_loss(config: ContentConfig) -> Loss:
    """The contrastive loss of CCRL, see `info_nce`: the kit's or the user's.

    Args:
        config: `loss` names the user's.

    Raises:
        InputError: the user's loss fails on a small batch, or returns no loss.
    """
    if not config.loss:
        return info_nce
    loss = _build_loss("content.loss", config.loss)
    size = (TRIAL_BATCH, TRIAL_CANDIDATES, config.embedding)
    candidates = nn.functional.normalize(torch.randn(size), dim=-1)
    anchor = nn.functional.normalize(candidates[:, 0] + candidates[:, 1], dim=-1)
    anchor.requires_grad_(True)
    positive = torch.zeros(TRIAL_BATCH, dtype=torch.long)
    valid = torch.ones(TRIAL_BATCH, TRIAL_CANDIDATES, dtype=torch.bool)
    valid[:, -1] = False
    arguments = (anchor, candidates, positive, config.temperature, valid)
    _try_loss("content.loss", config.loss, loss, arguments)
    return loss


def emotion_loss(config: EmotionConfig) -> Loss:
    """The contrastive loss of CERL, see `supervised_contrastive`: the kit's or the user's.

    Args:
        config: `loss` names the user's.

    Raises:
        InputError: the user's loss fails on a small batch, or returns no loss.
    """
    if not config.loss:
        return supervised_contrastive
    loss = _build_loss("emotion.loss", config.loss)
    embedding = nn.functional.normalize(torch.randn(TRIAL_BATCH, 16), dim=-1)
    embedding.requires_grad_(True)
    labels = torch.arange(TRIAL_BATCH) // 2
    _try_loss("emotion.loss", config.loss, loss, (embedding, labels, config.temperature))
    return loss


def _build_loss(setting: str, name: str) -> Loss:
    """A function as it is; an object of a class."""
    target = given(setting, name)
    if not inspect.isclass(target):
        return target
    return _run_own(setting, name, target)


def _try_loss(setting: str, name: str, loss: Loss, arguments: tuple[Any, ...]) -> None:
    """Refuse a loss that fails on a batch of six, or has another shape or no gradient."""
    values = _run_own(setting, name, loss, *arguments)
    shape = tuple(values.shape) if isinstance(values, torch.Tensor) else type(values).__name__
    if shape not in ((), (TRIAL_BATCH,)):
        raise InputError(
            f"{setting}={name}: it returns {shape} for a batch of {TRIAL_BATCH}; one value per "
            f"sample ({TRIAL_BATCH},) or their mean () is needed"
        )
    if not torch.isfinite(values).all():
        raise InputError(
            f"{setting}={name}: it returns {values.tolist()} on random unit vectors; a finite loss "
            "is needed"
        )
    if not values.requires_grad:
        raise InputError(
            f"{setting}={name}: its value has no gradient; compute it from the embeddings with "
            "torch alone, without .item(), .detach() or numpy"
        )


def _run_own(
    setting: str, name: str, function: Callable[..., Any], *arguments: Any, **keywords: Any
) -> Any:
    """Call the user's code; whatever it raises is told in one line."""
    try:
        return function(*arguments, **keywords)
    except Exception as error:  # any fault of the user's code
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else "no message"
        raise InputError(
            f"{setting}={name}: it fails on a small batch ({type(error).__name__}: {reason}); mend "
            "it, docs/guides/own_loss.md shows one that works"
        ) from error


# Encoders


def build_content_encoder(
    config: ContentConfig, features: Features
) -> tuple[ContentEncoder, dict[str, Any]]:
    """Build the encoder of CCRL; the user's has the interface of `ContentEncoder`.

    Args:
        config: sizes; `encoder` names the user's class.
        features: of the clips, whose lengths the encoder takes.

    Returns:
        The encoder, and the entries of its card: `model` has the arguments that it was built with.

    Raises:
        InputError: the user's encoder fails on a small batch, or returns no unit vectors.
    """
    arguments: dict[str, Any] = {
        "face": features.face.shape[1],
        "mouth": features.mouth.shape[1],
        "audio": features.audio.shape[1],
        "window": config.window,
        "embedding": config.embedding,
    }
    if not config.encoder:
        arguments["dropout"] = config.dropout
        return ContentEncoder(**arguments), {"model": arguments}

    encoder = _own_content_encoder(config.encoder, arguments)
    inputs = []
    for kind in ("face", "mouth", "audio"):
        inputs.append(torch.randn(TRIAL_BATCH, config.window, arguments[kind]))
    size = config.embedding
    _try_encoder("content.encoder", config.encoder, encoder, tuple(inputs), size)
    _try_encoder("content.encoder", config.encoder, encoder, (*inputs[:2], None), size)
    card = {"model": arguments, CODE: identity(config.encoder)}
    return cast(ContentEncoder, encoder), card


def build_emotion_encoder(
    config: EmotionConfig, features: Features, embedding: int, token_width: int
) -> tuple[EmotionEncoder, dict[str, Any]]:
    """Build the encoder of CERL, with the learnable context of the prompts.

    Args:
        config: sizes; `encoder` names the user's class.
        features: of the clips, whose lengths the encoder takes.
        embedding: length of the language prior's embeddings.
        token_width: of the language prior.

    Returns:
        The encoder, and the entries of its card: `model` has the arguments that it was built with.

    Raises:
        InputError: the user's encoder fails on a small batch, or returns no unit vectors.
    """
    length = features.language.shape[1] + features.mouth.shape[1]
    arguments: dict[str, Any] = {
        "features": length,
        "embedding": embedding,
        "token_width": token_width,
        "window": config.window,
    }
    if not config.encoder:
        arguments |= {"bottleneck": config.bottleneck, "noise": config.noise}
        return EmotionEncoder(**arguments), {"model": arguments}

    encoder = _own_emotion_encoder(config.encoder, arguments)
    for frames in (3, 26):
        windows = torch.randn(TRIAL_BATCH, frames, length)
        _try_encoder("emotion.encoder", config.encoder, encoder, (windows,), embedding)
    card = {"model": arguments, CODE: identity(config.encoder)}
    return cast(EmotionEncoder, encoder), card


def check_content(config: ContentConfig, features: Features) -> None:
    """Try the user's encoder and loss of CCRL before any work is done.

    Args:
        config: `encoder` and `loss` name them; nothing is tried where both are the kit's.
        features: of the clips.

    Raises:
        InputError: one of them does not work.
    """
    if config.encoder:
        build_content_encoder(config, features)
    content_loss(config)


def untrained_content_encoder(folder: Path) -> ContentEncoder:
    """Build an encoder like one that CCRL has trained, with new weights, in eval mode.

    Args:
        folder: of the trained one, with its card.
    """
    arguments = load_card(folder)["model"]
    encoder = _builder("content.encoder", folder)(**arguments)
    return cast(ContentEncoder, encoder.eval())


def load_content_encoder(folder: Path) -> ContentEncoder:
    """Load an encoder that CCRL has trained, frozen, in eval mode.

    Args:
        folder: of the encoder, with its card.

    Raises:
        InputError: no encoder is there, or one of the user's code that this process was not given.
    """
    encoder = load_network(_builder("content.encoder", folder), folder)
    return cast(ContentEncoder, encoder)


def load_emotion_encoder(folder: Path) -> EmotionEncoder:
    """Load an encoder that CERL has trained, frozen, in eval mode.

    Args:
        folder: of the encoder, with its card.

    Raises:
        InputError: no encoder is there, or one of the user's code that this process was not given.
    """
    encoder = load_network(_builder("emotion.encoder", folder), folder)
    return cast(EmotionEncoder, encoder)


def _builder(setting: str, folder: Path) -> Callable[..., nn.Module]:
    """What builds the encoder of a card from the arguments there."""
    own_code = load_card(folder).get(CODE, "")
    name = own_code.partition(" ")[0]
    is_content = setting == "content.encoder"
    if not name:
        return ContentEncoder if is_content else EmotionEncoder
    given(setting, name)
    if identity(name) != own_code:
        raise InputError(
            f"{folder}: it was trained with other code under the name {name} ({own_code}, now "
            f"{identity(name)}); bring that code back, or train again"
        )
    build = _own_content_encoder if is_content else _own_emotion_encoder

    def build_from_card(**arguments: Any) -> nn.Module:
        return build(name, arguments)

    return build_from_card


def _own_content_encoder(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build the user's content encoder; it gets the attribute `window`."""
    encoder = _build_network("content.encoder", name, arguments)
    encoder.window = arguments["window"]
    return encoder


def _own_emotion_encoder(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Build the user's emotion encoder; it gets `window`, and the context of the prompts."""
    encoder = _build_network("emotion.encoder", name, arguments)
    encoder.window = arguments["window"]
    context = torch.randn(len(EMOTIONS), CONTEXT_TOKENS, arguments["token_width"]) * 0.02
    encoder.context = nn.Parameter(context)
    return encoder


def _build_network(setting: str, name: str, arguments: Mapping[str, Any]) -> Any:
    """Build the user's network with the keyword arguments of its interface."""
    keywords = {keyword: arguments[keyword] for keyword in INTERFACES[setting].build or ()}
    network = _run_own(setting, name, given(setting, name), **keywords)
    if not isinstance(network, nn.Module):
        raise InputError(
            f"{setting}={name}: it builds a {type(network).__name__}; a torch.nn.Module is needed"
        )
    return network


def _try_encoder(
    setting: str, name: str, encoder: nn.Module, inputs: tuple[Any, ...], size: int
) -> None:
    """Refuse an encoder whose output is not one unit vector of `size` numbers for each window."""
    encoder.eval()
    with torch.no_grad():
        output = _run_own(setting, name, encoder, *inputs)
    encoder.train()
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if shape != (TRIAL_BATCH, size):
        raise InputError(
            f"{setting}={name}: it returns {shape} for {TRIAL_BATCH} windows; one embedding of the "
            f"length it was built with is needed, ({TRIAL_BATCH}, {size})"
        )
    lengths = output.detach().norm(dim=-1)
    if not torch.allclose(lengths, torch.ones_like(lengths), atol=NORM_TOLERANCE):
        raise InputError(
            f"{setting}={name}: its embeddings have lengths from {lengths.min():.3g} to "
            f"{lengths.max():.3g}; unit length is needed: return "
            "torch.nn.functional.normalize(embedding, dim=-1)"
        )
