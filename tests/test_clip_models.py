"""Real open_clip classes on random weights behind the language prior: their own preprocessing, activation, prompts, files."""

import logging

import numpy as np
import open_clip
import pytest
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import save_file

from cdrl.core.errors import InputError
from cdrl.priors.language import LanguagePrior

NAMES = ("ViT-B-32", "ViT-B-32-quickgelu", "RN50", "EVA02-B-16")


@pytest.fixture(scope="module", autouse=True)
def few_layers():
    """The real configurations with one block in each tower."""
    logging.disable(logging.WARNING)
    with pytest.MonkeyPatch.context() as patch:
        for name in NAMES:
            config = open_clip.get_model_config(name)
            layers = [1, 1, 1, 1] if name == "RN50" else 1
            config["text_cfg"] = config["text_cfg"] | {"layers": 1}
            config["vision_cfg"] = config["vision_cfg"] | (
                {} if name.startswith("EVA") else {"layers": layers}
            )
            patch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
        yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def theirs(few_layers):
    """OpenAI's model as open_clip makes it where its activation is right, on random weights."""
    torch.manual_seed(1)
    return open_clip.create_model("ViT-B-32-quickgelu", precision="fp32").eval()


@pytest.fixture(scope="module")
def prior(theirs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    save_file(dict(theirs.state_dict()), folder / "ViT-B-32-openai.safetensors")
    return LanguagePrior("ViT-B-32/openai", str(folder))


def pictures(batch=2, size=224, seed=0):
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_openai_s_weights_get_their_quick_gelu_and_pictures_their_own_preparation(prior, theirs):
    pixels = np.random.default_rng(0).integers(0, 255, (224, 224, 3), dtype=np.uint8)
    transform = image_transform_v2(PreprocessCfg(**theirs.visual.preprocess_cfg), is_train=False)
    wanted = theirs.encode_image(transform(Image.fromarray(pixels))[None])
    found = prior.image_features(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255)
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert (prior.features, prior.embedding, prior.token_width) == (512, 512, 512)


@torch.no_grad()
def test_text_and_prompts_without_context_equal_the_library_s(prior, theirs):
    texts = ["a happy face", "brows lowered, lips pressed"]
    wanted = torch.nn.functional.normalize(
        theirs.encode_text(open_clip.get_tokenizer("ViT-B-32")(texts)), dim=-1
    )
    torch.testing.assert_close(prior.text_embedding(texts), wanted, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        prior.prompt_embedding(torch.zeros(2, 0, 512), texts), wanted, atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("name", ["ViT-B-32/random", "RN50/random"])
def test_random_weights_are_the_same_in_two_constructions_and_pass_gradients_to_pixels_and_prompts(
    name,
):
    prior, again = LanguagePrior(name), LanguagePrior(name)
    images, context = (
        pictures(1, 96).requires_grad_(),
        torch.zeros(1, 8, prior.token_width, requires_grad=True),
    )
    features, text = prior.image_features(images), prior.prompt_embedding(context, ["a happy face"])
    (features.sum() + text.square().sum() + text[0, 0]).backward()
    assert features.shape == (1, prior.features) and text.shape == (1, prior.embedding)
    assert float(images.grad.abs().sum()) > 0 and float(context.grad.abs().sum()) > 0
    assert torch.equal(features, again.image_features(images)) and prior.identity == {
        "name": name,
        "sha256": "random",
    }
    assert not prior.train().model.training


@torch.no_grad()
def test_a_model_whose_text_tower_stands_apart_serves_too():
    prior, texts = LanguagePrior("EVA02-B-16/random"), ["a happy face"]
    torch.testing.assert_close(
        prior.prompt_embedding(torch.zeros(1, 0, prior.token_width), texts),
        prior.text_embedding(texts),
        atol=1e-5,
        rtol=1e-4,
    )


@pytest.mark.parametrize(
    "name",
    [
        "ViT-B-16-SigLIP/webli",
        "coca_ViT-B-32/laion2b_s13b_b90k",
        "xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k",
    ],
)
def test_models_without_learnable_prompts_are_refused_before_anything_is_fetched(name):
    with pytest.raises(
        InputError,
        match="its text tower is not CLIP's, so it takes no learnable prompts; accepted are",
    ):
        LanguagePrior(name)


def test_unknown_models_and_missing_or_foreign_weights_are_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("CDRL_WEIGHTS", raising=False)
    with pytest.raises(InputError, match="unknown language prior 'VIT-B-99/openai'"):
        LanguagePrior("VIT-B-99/openai")
    with pytest.raises(
        InputError, match="priors.language=ViT-B-32/openai: its weights are missing"
    ):
        LanguagePrior("ViT-B-32/openai")
    save_file({"a": torch.zeros(1)}, tmp_path / "ViT-B-32-openai.safetensors")
    with pytest.raises(
        InputError, match="ViT-B-32-openai.safetensors: weights of another model .Missing key"
    ):
        LanguagePrior("ViT-B-32/openai", str(tmp_path))
