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


def pictures(batch=2, size=96, seed=0):
    return torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))


def test_silence_is_zero_and_loudness_drops_out_of_the_log_mel():
    sound = torch.randn(1, 8000, generator=torch.Generator().manual_seed(0))
    assert float(log_mel(torch.zeros(1, 8000)).abs().max()) == 0
    assert torch.allclose(log_mel(sound), log_mel(sound * 0.3), atol=0.05)
    assert log_mel(sound).shape == (1, 48, 51)


def test_a_tone_lights_the_filter_of_its_frequency():
    tone = torch.sin(2 * torch.pi * 1000 * torch.arange(16000) / 16000)[None]
    row = log_mel(tone)[0, :, 20:80].mean(1)
    centres = (mel_filters() * torch.linspace(0, 8000, 201)).sum(1) / mel_filters().sum(1)
    assert abs(float(centres[row.argmax()]) - 1000) < 80


def test_features_are_averaged_over_the_span_of_each_video_frame():
    features = torch.arange(20.0)[:, None]
    assert to_frames(features, 100, 5, 25).squeeze().tolist() == [1.5, 5.5, 9.5, 13.5, 17.5]
    assert to_frames(features, 100, 7, 25)[-1].item() == 19  # past the end the last is repeated


def test_the_phoneme_net_does_not_hear_beyond_its_window():
    net = PhonemeNet(len(PHONEMES), width=16).double().eval()
    for norm in range(len(net.norms)):
        net.norms[norm] = (
            torch.nn.Identity()
        )  # GroupNorm sees the whole utterance; the convolutions must not
    mel = torch.randn(1, 48, 120, dtype=torch.float64, requires_grad=True)
    net(mel)[1][0, :, 60].sum().backward()
    reach = torch.nonzero(mel.grad[0].abs().sum(0))[:, 0]
    assert 60 - int(reach.min()) == int(reach.max()) - 60 == 2 + 22


def test_the_embedded_audio_prior_hears_the_same_in_two_runs_and_gives_one_row_per_frame():
    sound = np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 0.1
    heard = EmbeddedAudioPrior()
    assert heard(sound, 25, 25.0).shape == (25, 64) and torch.equal(
        heard(sound, 25, 25.0), heard(sound, 25, 25.0)
    )


def test_views_do_not_depend_on_the_resolution_of_a_smooth_crop():
    ramp = torch.linspace(0, 1, 192)[None, None, None].expand(1, 3, 192, 192)
    small = torch.nn.functional.interpolate(ramp, (96, 96), mode="area")
    box = torch.tensor([[0.25, 0.6, 0.75, 0.93]])
    assert torch.allclose(face_view(ramp)[..., 2:-2], face_view(small)[..., 2:-2], atol=0.02)
    assert torch.allclose(mouth_view(ramp, box), mouth_view(small, box), atol=0.02)


def test_the_mouth_view_is_the_box():
    images = torch.zeros(1, 3, 96, 96)
    images[..., 48:80, 24:72] = 1  # rows 48..80, columns 24..72
    inside = mouth_view(images, torch.tensor([[0.25, 0.5, 0.75, 80 / 96]]))
    assert float(inside[..., 1:-1, 1:-1].min()) == 1


def test_frozen_backbones_stay_in_eval_mode_and_pass_gradients_to_the_pixels():
    prior = VisionPrior().train()
    images = pictures().requires_grad_()
    face, mouth = prior(images, torch.tensor([[0.25, 0.6, 0.75, 0.93]] * 2))
    (face.sum() + mouth.square().sum()).backward()
    assert not prior.face.training and float(images.grad.abs().sum()) > 0
    assert all(p.grad is None and not p.requires_grad for p in prior.parameters())


def test_a_caption_says_what_the_face_does_and_a_still_face_is_relaxed():
    face = np.zeros(52, np.float32)
    assert caption(face, np.random.default_rng(0)) == "face relaxed"
    face[[ACTIONS.index("mouthSmileLeft"), ACTIONS.index("mouthSmileRight")]] = 0.8
    assert caption(face, np.random.default_rng(0)) == "lip corners strongly up"


def test_every_description_is_made_of_known_words_and_names_no_emotion():
    tokens = WordTokenizer()(list(DESCRIPTIONS.values()))
    assert tokens.shape == (8, 64) and (tokens.argmax(1) > 1).all()
    assert set(DESCRIPTIONS).isdisjoint(WORDS)


def test_a_word_outside_the_vocabulary_is_refused_by_naming_it():
    with pytest.raises(InputError, match="does not know the word 'happy': .*need a real CLIP"):
        LanguagePrior().text_embedding(["happy face"])


def test_an_empty_context_gives_the_plain_text_embedding():
    prior, texts = LanguagePrior(), ["brows lowered, lips pressed", "face relaxed"]
    with torch.no_grad():
        plain, prompted = (
            prior.text_embedding(texts),
            prior.prompt_embedding(torch.zeros(2, 0, prior.token_width), texts),
        )
    assert torch.allclose(plain, prompted, atol=1e-5)


def test_context_tokens_move_the_text_and_receive_a_gradient():
    prior = LanguagePrior()
    context = torch.randn(
        1, 4, prior.token_width, generator=torch.Generator().manual_seed(0)
    ).requires_grad_()
    prompted = prior.prompt_embedding(context, ["face relaxed"])
    assert not torch.allclose(prompted, prior.text_embedding(["face relaxed"]), atol=1e-3)
    (prompted @ torch.randn(prompted.shape[1], 1)).sum().backward()
    assert float(context.grad.abs().sum()) > 0


def test_weights_are_read_back_and_a_damaged_file_another_model_and_a_missing_one_are_refused(
    tmp_path,
):
    path = tmp_path / "net.safetensors"
    net = mouth_backbone(8)
    save_weights(path, net, {"model": {"features": 8}})
    again = load_weights(str(path), mouth_backbone(8))
    assert (
        torch.allclose(again.out.weight, net.out.weight, atol=1e-3)
        and not again.out.weight.requires_grad
    )
    with pytest.raises(InputError, match="weights of another model"):
        load_weights(str(path), mouth_backbone(16))
    path.write_bytes(path.read_bytes()[:-8] + b"damaged!")
    with pytest.raises(InputError, match="checksum differs from its card"):
        load_weights(str(path), mouth_backbone(8))
    with pytest.raises(InputError, match="weights 'nothing' not found in .*CDRL_WEIGHTS"):
        weights_path("nothing")


def test_a_pickle_where_a_tensor_file_belongs_is_not_executed(tmp_path):
    path = tmp_path / "evil.safetensors"
    torch.save({"a": torch.zeros(1)}, path)
    path.with_suffix(".json").write_text(json.dumps({"model": {}}))
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_weights(str(path), mouth_backbone(8))
