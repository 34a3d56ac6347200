"""The frozen priors: views, log-mel, word by word language, weights on disk."""

import json

import numpy as np
import pytest
import torch

from cdrl.core.checkpoint import load_weights, save_weights, weights_path
from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS, PHONEMES
from cdrl.priors.audio import EmbeddedAudioPrior, PhonemeNet, log_mel, mel_filters, to_frames
from cdrl.priors.language import DESCRIPTIONS, WORDS, LanguagePrior, WordTokenizer, caption
from cdrl.priors.vision import VisionPrior, face_view, mouth_backbone, mouth_view


def random_images(batch=2, size=96, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, 3, size, size, generator=generator)


def test_silence_is_zero_and_loudness_drops_out_of_the_log_mel():
    sound = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    silence = torch.zeros(1, 8000)
    assert float(log_mel(silence).abs().max()) == 0
    assert torch.allclose(log_mel(sound), log_mel(sound * 0.3), atol=0.05)
    assert log_mel(sound).shape == (1, 48, 51)


def test_a_tone_is_strongest_in_the_filter_of_its_frequency():
    seconds = torch.arange(16000) / 16000
    tone = torch.sin(2 * torch.pi * 1000 * seconds)[None]
    level = log_mel(tone)[0, :, 20:80].mean(1)
    filters = mel_filters()
    centres = (filters * torch.linspace(0, 8000, 201)).sum(1) / filters.sum(1)
    assert abs(float(centres[level.argmax()]) - 1000) < 80


def test_features_are_averaged_over_the_span_of_each_video_frame():
    features = torch.arange(20.0)[:, None]
    assert to_frames(features, 100, 5, 25).squeeze().tolist() == [1.5, 5.5, 9.5, 13.5, 17.5]
    assert to_frames(features, 100, 7, 25)[-1].item() == 19  # past the end the last is repeated


def test_the_phoneme_net_depends_on_nothing_beyond_its_window():
    net = PhonemeNet(len(PHONEMES), width=16).double().eval()
    # GroupNorm averages over the whole utterance; the convolutions must not.
    for number in range(len(net.norms)):
        net.norms[number] = torch.nn.Identity()
    mel = torch.randn(1, 48, 120, dtype=torch.float64, requires_grad=True)
    _, features = net(mel)
    features[0, :, 60].sum().backward()
    reached = torch.nonzero(mel.grad[0].abs().sum(0))[:, 0]
    assert 60 - int(reached.min()) == 2 + 22
    assert int(reached.max()) - 60 == 2 + 22


def test_the_embedded_audio_prior_repeats_itself_and_gives_one_row_per_frame():
    sound = np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 0.1
    prior = EmbeddedAudioPrior()
    features = prior(sound, 25, 25.0)
    assert features.shape == (25, 64)
    assert torch.equal(features, prior(sound, 25, 25.0))


def test_views_do_not_depend_on_the_resolution_of_a_smooth_crop():
    ramp = torch.linspace(0, 1, 192)[None, None, None].expand(1, 3, 192, 192)
    small = torch.nn.functional.interpolate(ramp, (96, 96), mode="area")
    box = torch.tensor([[0.25, 0.6, 0.75, 0.93]])
    assert torch.allclose(face_view(ramp)[..., 2:-2], face_view(small)[..., 2:-2], atol=0.02)
    assert torch.allclose(mouth_view(ramp, box), mouth_view(small, box), atol=0.02)


def test_the_mouth_view_is_the_box():
    images = torch.zeros(1, 3, 96, 96)
    images[..., 48:80, 24:72] = 1
    box = torch.tensor([[24 / 96, 48 / 96, 72 / 96, 80 / 96]])
    view = mouth_view(images, box)
    assert float(view[..., 1:-1, 1:-1].min()) == 1


def test_frozen_backbones_stay_in_eval_mode_and_pass_gradients_to_the_pixels():
    prior = VisionPrior().train()
    images = random_images().requires_grad_()
    boxes = torch.tensor([[0.25, 0.6, 0.75, 0.93]] * 2)
    face, mouth = prior(images, boxes)
    (face.sum() + mouth.square().sum()).backward()
    assert not prior.face.training
    assert float(images.grad.abs().sum()) > 0
    for parameter in prior.parameters():
        assert parameter.grad is None
        assert not parameter.requires_grad


def test_a_caption_describes_the_face_and_a_still_face_is_relaxed():
    face = np.zeros(52, np.float32)
    assert caption(face, np.random.default_rng(0)) == "face relaxed"
    face[ACTIONS.index("mouthSmileLeft")] = 0.8
    face[ACTIONS.index("mouthSmileRight")] = 0.8
    assert caption(face, np.random.default_rng(0)) == "lip corners strongly up"


def test_every_description_is_made_of_known_words_and_names_no_emotion():
    tokens = WordTokenizer()(list(DESCRIPTIONS.values()))
    assert tokens.shape == (8, 64)
    assert (tokens.argmax(1) > 1).all()
    assert set(DESCRIPTIONS).isdisjoint(WORDS)


def test_a_word_outside_the_vocabulary_is_refused_by_name():
    with pytest.raises(InputError, match=r"does not know the word 'happy': .*need a real CLIP"):
        LanguagePrior().text_embedding(["happy face"])


def test_a_text_that_is_too_long_is_refused():
    with pytest.raises(InputError, match="text of 55 words: at most 54 are accepted"):
        WordTokenizer()(["lips " * 55])


@torch.no_grad()
def test_an_empty_context_gives_the_plain_text_embedding():
    prior = LanguagePrior()
    texts = ["brows lowered, lips pressed", "face relaxed"]
    empty_context = torch.zeros(2, 0, prior.token_width)
    plain = prior.text_embedding(texts)
    prompted = prior.prompt_embedding(empty_context, texts)
    assert torch.allclose(plain, prompted, atol=1e-5)


def test_context_tokens_move_the_text_and_receive_a_gradient():
    prior = LanguagePrior()
    generator = torch.Generator().manual_seed(0)
    context = torch.randn(1, 4, prior.token_width, generator=generator).requires_grad_()
    prompted = prior.prompt_embedding(context, ["face relaxed"])
    assert not torch.allclose(prompted, prior.text_embedding(["face relaxed"]), atol=1e-3)
    direction = torch.randn(prompted.shape[1], 1)
    (prompted @ direction).sum().backward()
    assert float(context.grad.abs().sum()) > 0


def test_weights_are_read_back_and_damaged_foreign_and_missing_ones_are_refused(tmp_path):
    path = tmp_path / "net.safetensors"
    net = mouth_backbone(8)
    save_weights(path, net, {"model": {"features": 8}})
    loaded = load_weights(str(path), mouth_backbone(8))
    assert torch.allclose(loaded.out.weight, net.out.weight, atol=1e-3)
    assert not loaded.out.weight.requires_grad

    with pytest.raises(InputError, match="weights of another model"):
        load_weights(str(path), mouth_backbone(16))
    path.write_bytes(path.read_bytes()[:-8] + b"damaged!")
    with pytest.raises(InputError, match="checksum differs from its card"):
        load_weights(str(path), mouth_backbone(8))
    with pytest.raises(InputError, match=r"weights 'nothing' not found in .*CDRL_WEIGHTS"):
        weights_path("nothing")


def test_a_pickle_in_place_of_a_tensor_file_is_not_executed(tmp_path):
    path = tmp_path / "evil.safetensors"
    torch.save({"a": torch.zeros(1)}, path)
    path.with_suffix(".json").write_text(json.dumps({"model": {}}))
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_weights(str(path), mouth_backbone(8))


@pytest.mark.parametrize(
    ("name", "word", "positions"), [("embedded", "brows", 64), ("ViT-B-32/random", "face", 77)]
)
@pytest.mark.parametrize("surplus", [0, 1])
def test_a_text_whose_end_lies_outside_the_tower_is_refused(name, word, positions, surplus):
    prior = LanguagePrior(name)
    context = torch.zeros(1, 16, prior.token_width)
    text = " ".join([word] * (positions - 16 - 2 + surplus))
    if not surplus:
        assert prior.prompt_embedding(context, [text]).isfinite().all()
        return
    with pytest.raises(InputError, match=f"reads {positions} tokens") as error:
        prior.prompt_embedding(context, [text])
    assert f"{positions - 16} tokens at most" in str(error.value)
