"""open_clip models that take learnable prompts, with the image preprocessing of their weights."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from cdrl.core.errors import InputError
from cdrl.core.weight_files import fill, read_state, verify
from cdrl.priors import sources

if TYPE_CHECKING:
    from open_clip.tokenizer import SimpleTokenizer

# Of a pretrained tag: how images are prepared.
_IMAGE_SETTINGS = ("mean", "std", "interpolation", "resize_mode")
_SCALARS = ("logit_scale", "logit_bias")  # numbers, or lists of one, in published files
_SIZES = ("input_resolution", "context_length", "vocab_size")  # in OpenAI's files; no weights
START_AND_END = 2  # tokens around every text
SHOWN_CHARACTERS = 40  # of a text that is refused


@dataclass(frozen=True)
class ClipModel:
    """An open_clip model with what belongs to its weights.

    Args:
        model: frozen, on the CPU.
        tokenize: texts -> (B, L) int64.
        size: height and width of its images, pixels.
        mean: of RGB, subtracted.
        std: of RGB, divided by.
        interpolation: `bicubic` or `bilinear`.
        identity: name and sha256 of the weights.
    """

    model: nn.Module
    tokenize: Callable[[list[str]], torch.Tensor]
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    identity: dict[str, str]


class WholeTextTokenizer:
    """The tokenizer of open_clip, which cuts long texts in silence, with a check before it.

    Args:
        tokenizer: of an open_clip model.
    """

    def __init__(self, tokenizer: "SimpleTokenizer"):
        self.tokenizer = tokenizer

    def __call__(self, texts: list[str]) -> torch.Tensor:
        """Texts -> (B, L) int64.

        Raises:
            InputError: a text that does not fit.
        """
        longest = self.tokenizer.context_length
        for text in texts:
            length = len(self.tokenizer.encode(text)) + START_AND_END
            if length > longest:
                raise InputError(
                    f"text of {length} tokens, {text[:SHOWN_CHARACTERS]!r}...: the language prior "
                    f"reads {longest}, start and end counted; give a shorter text"
                )
        return self.tokenizer(texts)


def text_tower(model: nn.Module) -> Any:
    """The part of an open_clip model that has its token embedding: the model or its `text`."""
    return model if hasattr(model, "token_embedding") else model.text


def open_clip_model(name: str, weights: str = "") -> ClipModel:
    """Load an open_clip model.

    Args:
        name: MODEL/TAG as in `open_clip.list_pretrained()` (`ViT-B-32/openai`); the tag `random`
            draws weights from seed 0.
        weights: folder or file (see `cdrl.priors.sources`).

    Raises:
        InputError: an unknown model or tag, a text tower without learnable prompts, weights that
            are missing or of another model.
    """
    import open_clip  # seconds, and few paths need it

    kind, _, tag = name.partition("/")
    _check(name, kind)
    path = None
    tag_config: dict[str, Any] = {}
    if tag != "random":
        path = sources.require_file(sources.language_source(name), weights)
        tag_config = open_clip.get_pretrained_cfg(kind, tag)

    model = _build(kind, tag_config)
    digest = "random"
    if path is not None:
        digest = verify(path)
        fill(model, _converted_state(model, path), path)
    model.eval()

    size = model.visual.image_size
    if isinstance(size, int):
        size = (size, size)
    images = model.visual.preprocess_cfg

    return ClipModel(
        model=model,
        tokenize=WholeTextTokenizer(open_clip.get_tokenizer(kind)),
        size=tuple(size),
        mean=images["mean"],
        std=images["std"],
        interpolation=images["interpolation"],
        identity={"name": name, "sha256": digest},
    )


def _check(name: str, kind: str) -> None:
    """Refuse a model that is unknown or takes no learnable prompts."""
    import open_clip

    known = open_clip.list_models()
    if kind not in known:
        similar = get_close_matches(kind, known, n=3)
        raise InputError(
            f"unknown language prior {name!r}: accepted are embedded, or open_clip's "
            f"MODEL/PRETRAINED {similar}"
        )
    config = open_clip.get_model_config(kind)
    text = config["text_cfg"]
    has_own_tokenizer = not text.get("hf_tokenizer_name")
    is_clip = "hf_model_name" not in text and "multimodal_cfg" not in config
    pools_end_token = text.get("pool_type", "argmax") == "argmax"
    if not (has_own_tokenizer and is_clip and pools_end_token):
        raise InputError(
            f"language prior {name!r}: its text tower is not CLIP's, so it takes no learnable "
            "prompts; accepted are open_clip's CLIP models with its own tokenizer, such as "
            "ViT-B-32/openai, ViT-L-14/datacomp_xl_s13b_b90k, RN50/openai"
        )


def _build(kind: str, tag_config: dict[str, Any]) -> Any:
    """Build a model with random weights from seed 0, for the weights of a tag."""
    import open_clip

    image_settings = {}
    for key in _IMAGE_SETTINGS:
        if key in tag_config:
            image_settings[key] = tag_config[key]
    with _warnings_off(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return open_clip.create_model(
            kind,
            pretrained=None,
            precision="fp32",
            # The activation belongs to the weights: OpenAI's need QuickGELU even where the model's
            # own configuration has GELU.
            force_quick_gelu=tag_config.get("quick_gelu", False),
            force_preprocess_cfg=image_settings,
        )


@contextmanager
def _warnings_off() -> Iterator[None]:
    """Suppress open_clip's warning that weights are random: they are replaced at once."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def _converted_state(model: nn.Module, path: Path) -> dict[str, torch.Tensor]:
    """Read weights in any published form, as the model has them."""
    from open_clip.convert import convert_state_dict

    state = convert_state_dict(model, read_state(path))
    expected = model.state_dict()
    for key in _SCALARS:
        if key in state and key in expected:
            state[key] = state[key].reshape(expected[key].shape)
    for key in _SIZES:
        state.pop(key, None)

    return state
