"""Any open_clip model that takes learnable prompts, by MODEL/TAG, with the picture preparation its weights were trained with."""

import logging
from difflib import get_close_matches

import open_clip
import torch
from open_clip.convert import convert_state_dict
from torch import nn

from cdrl.core.errors import InputError
from cdrl.core.weight_files import fill, read_state, verify
from cdrl.priors import sources


def text_tower(model: nn.Module) -> nn.Module:
    """The part of an open_clip model that holds its token embedding: itself, or its `text`."""
    return model if hasattr(model, "token_embedding") else model.text


def open_clip_model(name: str, weights: str = "") -> tuple[nn.Module, object, dict, dict]:
    """An open_clip model, frozen, on the CPU.

    Args:
        name: MODEL/TAG as `open_clip.list_pretrained()` has them (`ViT-B-32/openai`); TAG `random` draws weights from seed 0.
        weights: folder or file (see `cdrl.priors.sources`).

    Returns:
        The model, its tokenizer, how it wants pictures (`mean`, `std`, `interpolation`, `size`), its identity (name, sha256).

    Raises:
        InputError: an unknown model or tag, a text tower without learnable prompts, weights missing or of another model.
    """
    kind, _, tag = name.partition("/")
    _check(name, kind)
    source = None if tag == "random" else sources.language_source(name)
    path = source and sources.require_file(source, weights)
    # The activation belongs to the weights: OpenAI's need QuickGELU even where the model's own configuration has GELU.
    tagged = open_clip.get_pretrained_cfg(kind, tag) if source else {}
    pictures = {
        key: tagged[key] for key in ("mean", "std", "interpolation", "resize_mode") if key in tagged
    }
    logging.disable(logging.WARNING)  # "initialised randomly": not for long
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = open_clip.create_model(
                kind,
                pretrained=None,
                precision="fp32",
                force_quick_gelu=tagged.get("quick_gelu", False),
                force_preprocess_cfg=pictures,
            )
    finally:
        logging.disable(logging.NOTSET)
    digest = verify(path) if path else "random"
    if path:
        state = convert_state_dict(model, read_state(path))
        for key in ("logit_scale", "logit_bias"):  # a number, or a list of one
            if key in state and key in model.state_dict():
                state[key] = state[key].reshape(model.state_dict()[key].shape)
        for key in ("input_resolution", "context_length", "vocab_size"):
            state.pop(key, None)
        fill(model, state, path)
    size = model.visual.image_size
    wanted = {
        **model.visual.preprocess_cfg,
        "size": (size, size) if isinstance(size, int) else tuple(size),
    }
    return model.eval(), open_clip.get_tokenizer(kind), wanted, {"name": name, "sha256": digest}


def _check(name: str, kind: str) -> None:
    if kind not in open_clip.list_models():
        near = get_close_matches(kind, open_clip.list_models(), n=3)
        raise InputError(
            f"unknown language prior {name!r}: accepted are embedded, or open_clip's MODEL/PRETRAINED {near}"
        )
    config = open_clip.get_model_config(kind)
    text = config["text_cfg"]
    foreign = "hf_model_name" in text or text.get("hf_tokenizer_name") or "multimodal_cfg" in config
    if foreign or text.get("pool_type", "argmax") != "argmax":
        raise InputError(
            f"language prior {name!r}: its text tower is not CLIP's, so it takes no learnable prompts; accepted are open_clip's CLIP "
            "models with its own tokenizer, such as ViT-B-32/openai, ViT-L-14/datacomp_xl_s13b_b90k, RN50/openai"
        )
