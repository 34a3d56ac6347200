"""Real open_clip classes on random weights as language priors: preprocessing, prompts, files."""

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
            config["text_cfg"] = config["text_cfg"] | {"layers": 1}
            if not name.startswith("EVA"):
                layers = [1, 1, 1, 1] if name == "RN50" else 1
                config["vision_cfg"] = config["vision_cfg"] | {"layers": layers}
            patch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
        yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def library_model(few_layers):
    """OpenAI's model as open_clip makes it where its activation is right, on random weights."""
    torch.manual_seed(1)
    return open_clip.create_model("ViT-B-32-quickgelu", precision="fp32").eval()


@pytest.fixture(scope="module")
def prior(library_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    state = dict(library_model.state_dict())
    save_file(state, folder / "ViT-B-32-openai.safetensors")
    return LanguagePrior("ViT-B-32/openai", str(folder))


@torch.no_grad()
def test_openai_s_weights_get_their_quick_gelu_and_images_their_own_preprocessing(
    prior, library_model
):
    pixels = np.random.default_rng(0).integers(0, 255, (224, 224, 3), dtype=np.uint8)
    config = PreprocessCfg(**library_model.visual.preprocess_cfg)
    transform = image_transform_v2(config, is_train=False)
    expected = library_model.encode_image(transform(Image.fromarray(pixels))[None])
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    torch.testing.assert_close(prior.image_features(image), expected, atol=1e-4, rtol=1e-4)
    assert prior.features == 512
    assert prior.embedding == 512
    assert prior.token_width == 512


@torch.no_grad()
def test_text_and_prompts_without_context_equal_the_library_s(prior, library_model):
    texts = ["a happy face", "brows lowered, lips pressed"]
    tokens = open_clip.get_tokenizer("ViT-B-32")(texts)
    expected = torch.nn.functional.normalize(library_model.encode_text(tokens), dim=-1)
    prompted = prior.prompt_embedding(torch.zeros(2, 0, 512), texts)
    torch.testing.assert_close(prior.text_embedding(texts), expected, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(prompted, expected, atol=1e-5, rtol=1e-4)


def test_a_text_that_the_library_would_cut_is_refused(prior):
    longest = "face " * 75
    assert prior.text_embedding([longest]).shape == (1, 512)
    with pytest.raises(InputError, match="text of 78 tokens.*reads 77"):
        prior.text_embedding(["a face", longest + "now"])
    with pytest.raises(InputError, match="text of 78 tokens"):
        prior.prompt_embedding(torch.zeros(1, 0, 512), [longest + "now"])


@pytest.mark.parametrize("name", ["ViT-B-32/random", "RN50/random"])
def test_random_weights_repeat_and_pass_gradients_to_pixels_and_prompts(name):
    prior = LanguagePrior(name)
    generator = torch.Generator().manual_seed(0)
    images = torch.rand(1, 3, 96, 96, generator=generator).requires_grad_()
    context = torch.zeros(1, 8, prior.token_width, requires_grad=True)
    features = prior.image_features(images)
    text = prior.prompt_embedding(context, ["a happy face"])
    (features.sum() + text.square().sum() + text[0, 0]).backward()
    assert features.shape == (1, prior.features)
    assert text.shape == (1, prior.embedding)
    assert float(images.grad.abs().sum()) > 0
    assert float(context.grad.abs().sum()) > 0

    second = LanguagePrior(name)
    assert torch.equal(features, second.image_features(images))
    assert prior.identity == {"name": name, "sha256": "random"}
    assert not prior.train().model.training


@torch.no_grad()
def test_a_model_whose_text_tower_is_a_part_of_its_own_serves_too():
    prior = LanguagePrior("EVA02-B-16/random")
    texts = ["a happy face"]
    prompted = prior.prompt_embedding(torch.zeros(1, 0, prior.token_width), texts)
    torch.testing.assert_close(prompted, prior.text_embedding(texts), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "name",
    [
        "ViT-B-16-SigLIP/webli",
        "coca_ViT-B-32/laion2b_s13b_b90k",
        "xlm-roberta-base-ViT-B-32/laion5b_s13b_b90k",
    ],
)
def test_models_without_learnable_prompts_are_refused_before_anything_is_fetched(name):
    with pytest.raises(InputError, match=f"{name}.*takes no learnable prompts; accepted are"):
        LanguagePrior(name)


def test_unknown_models_and_missing_or_foreign_weights_are_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("CDRL_WEIGHTS", raising=False)
    with pytest.raises(InputError, match="unknown language prior 'VIT-B-99/openai'"):
        LanguagePrior("VIT-B-99/openai")
    with pytest.raises(InputError, match="ViT-B-32/openai: its weights are missing"):
        LanguagePrior("ViT-B-32/openai")
    file = "ViT-B-32-openai.safetensors"
    save_file({"a": torch.zeros(1)}, tmp_path / file)
    with pytest.raises(InputError, match=f"{file}: weights of another model .Missing key"):
        LanguagePrior("ViT-B-32/openai", str(tmp_path))
