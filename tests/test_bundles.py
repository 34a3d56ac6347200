"""The wide audio priors on random weights of the real architectures: windows, batches, files."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file

from cdrl.core.errors import InputError
from cdrl.priors.audio import audio_prior
from cdrl.priors.bundles import BundleAudioPrior, at_frames, released_windows

pipelines = pytest.importorskip("torchaudio.pipelines")
LAYERS = 2


@pytest.fixture(scope="module", autouse=True)
def few_layers():
    """The real bundles with two transformer layers instead of 12 or 24: seconds, not minutes."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WAV2VEC2_BASE", "WAV2VEC2_XLSR53", "HUBERT_LARGE"):
            bundle = getattr(pipelines, name)
            params = bundle._params | {"encoder_num_layers": LAYERS}
            patch.setattr(pipelines, name, replace(bundle, _params=params))
        yield


@pytest.fixture(scope="module")
def base(few_layers):
    return BundleAudioPrior("WAV2VEC2_BASE/random", LAYERS)


@pytest.fixture(scope="module")
def xlsr(few_layers):
    return BundleAudioPrior("WAV2VEC2_XLSR53/random", LAYERS)


def make_sound(seconds, seed=0):
    noise = np.random.default_rng(seed).standard_normal(int(seconds * 16000))
    return noise.astype(np.float32) * 0.1


def with_windows(prior, windows):
    """The same network with sound cut another way."""
    other = object.__new__(BundleAudioPrior)
    other.__dict__ = prior.__dict__ | {"windows": windows}
    return other


def test_the_released_windows_are_128_frames_with_15_of_the_one_before():
    assert released_windows(300) == [(0, 128, 0), (113, 241, 15), (226, 300, 15)]
    assert released_windows(128) == [(0, 128, 0)]
    assert released_windows(129)[1:] == [(113, 129, 15)]
    for frames in (1, 40, 241, 242, 777):
        remaining = []
        for first, end, dropped in released_windows(frames):
            remaining.extend(range(first + dropped, end))
        assert remaining == list(range(frames))


def naive_released_features(model, sound, frames):
    """The parts of the network one after the other, as the release calls them."""
    features = []
    done = 0
    while done < frames:
        first = 0 if done == 0 else done - 15
        end = min(frames, 128 if done == 0 else done + 113)
        start_sample = int(first * 16000 / 30)
        end_sample = int(np.ceil(end * 16000 / 30))
        part = torch.from_numpy(sound[start_sample:end_sample])[None]
        convolved, _ = model.feature_extractor(part, None)
        output = model.encoder.extract_features(convolved, None, LAYERS)[-1]
        channels_first = output.transpose(1, 2)
        stretched = F.interpolate(channels_first, end - first, mode="linear", align_corners=True)
        window = stretched[0].T
        features.append(window if done == 0 else window[15:])
        done = end
    return torch.cat(features)


@torch.no_grad()
def test_released_windows_equal_a_slow_transcription(xlsr):
    sound = make_sound(150 / 30, 1)
    features = with_windows(xlsr, "released")(sound, 150, 30.0)
    expected = naive_released_features(xlsr.model, sound, 150)
    assert features.shape == (150, 1024)
    torch.testing.assert_close(features, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("windows", ["whole", "released"])
@pytest.mark.parametrize("name", ["base", "xlsr"])
def test_batched_equals_one_by_one(name, windows, request):
    prior = with_windows(request.getfixturevalue(name), windows)
    clips = []
    for seed, seconds in enumerate((1.0, 0.37, 1.61)):
        clips.append((make_sound(seconds, seed), round(seconds * 25), 25.0))
    batched = prior.extract_clips(clips)
    for features, clip in zip(batched, clips, strict=True):
        torch.testing.assert_close(features, prior(*clip), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_whole_clip_equals_the_library_s_own_call_normalisation_included(xlsr):
    from torchaudio.pipelines._wav2vec2.utils import _extend_model

    sound = make_sound(1)
    library_model = _extend_model(xlsr.model, normalize_waveform=True)
    layers, _ = library_model.extract_features(torch.from_numpy(sound)[None], num_layers=LAYERS)
    expected = at_frames(layers[-1][0], 25, 25.0)
    torch.testing.assert_close(xlsr(sound, 25, 25.0), expected, atol=1e-4, rtol=1e-4)


def test_loudness_drops_out_of_a_whole_clip_and_not_of_the_released_windows(xlsr):
    sound = make_sound(0.5) * 10
    change = {}
    for windows in ("whole", "released"):
        prior = with_windows(xlsr, windows)
        loud = prior(sound, 15, 30.0)
        soft = prior(sound * 0.1, 15, 30.0)
        change[windows] = float((loud - soft).norm() / loud.norm())
    assert change["whole"] < 0.005
    assert change["released"] > 10 * change["whole"]


def test_a_frame_gets_the_features_at_its_middle_and_the_ends_are_repeated():
    features = torch.arange(50.0)[:, None]  # output t is centred on sample 320 t + 200
    interpolated = at_frames(features, 25, 25.0)[:, 0]
    assert interpolated[10].item() == pytest.approx((10.5 / 25 * 16000 - 200) / 320)
    assert at_frames(features, 40, 25.0)[-1].item() == 49
    assert at_frames(features, 200, 200.0)[0].item() == 0


@pytest.mark.parametrize("windows", ["whole", "released"])
@pytest.mark.parametrize(
    "seconds, frames, rate", [(1.0, 25, 25.0), (1.0, 30, 29.97), (0.9, 30, 30.0), (0.01, 2, 25.0)]
)
def test_every_frame_gets_a_row_at_any_rate_and_for_any_length_of_sound(
    base, windows, seconds, frames, rate
):
    features = with_windows(base, windows)(make_sound(seconds), frames, rate)
    assert features.shape == (frames, 768)
    assert torch.isfinite(features).all()


def test_layers_differ_and_random_weights_are_the_same_in_two_constructions(base):
    sound = make_sound(0.5)
    second = BundleAudioPrior("WAV2VEC2_BASE/random", LAYERS)
    lower_layer = BundleAudioPrior("WAV2VEC2_BASE/random", 1)
    features = base(sound, 12, 25.0)
    assert torch.equal(features, second(sound, 12, 25.0))
    assert not torch.allclose(features, lower_layer(sound, 12, 25.0), atol=1e-2)
    assert base.identity == second.identity
    assert base.identity != lower_layer.identity


def test_the_full_xlsr_53_has_the_published_shape_and_its_layer_20_is_1024_wide():
    from torchaudio.models import wav2vec2_model

    params = pipelines.WAV2VEC2_XLSR53._params | {"encoder_num_layers": 24}
    with torch.device("meta"):  # 315 million parameters that take no memory
        model = wav2vec2_model(**params).eval()
        layers, _ = model.extract_features(torch.zeros(1, 16000), num_layers=20)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters == 315_437_696
    assert len(layers) == 20
    assert layers[-1].shape == (1, 49, 1024)


def test_layers_windows_and_names_that_do_not_exist_are_refused():
    with pytest.raises(InputError, match=r"layer 13 does not exist, it has layers 1 to 2; .*--set"):
        BundleAudioPrior("WAV2VEC2_BASE/random", 13)
    with pytest.raises(InputError, match="windows=half: accepted are whole, released"):
        BundleAudioPrior("WAV2VEC2_BASE/random", 1, "half")
    with pytest.raises(InputError, match=r"'WAV2VEC2_XLSR54' \(did you mean WAV2VEC2_XLSR53\?\)"):
        audio_prior("WAV2VEC2_XLSR54")


def published_state(model):
    """A state dict with the names of torchaudio's files, older than torch's parametrisations."""
    former = {
        "parametrizations.weight.original0": "weight_g",
        "parametrizations.weight.original1": "weight_v",
    }
    state = {}
    for name, value in model.state_dict().items():
        for new, old in former.items():
            name = name.replace(new, old)
        state[name] = value.clone()
    return state


def test_weights_are_read_from_a_folder_as_published_or_as_safetensors(base, tmp_path, monkeypatch):
    sound = make_sound(0.5)
    expected = base(sound, 12, 25.0)
    torch.save(published_state(base.model), tmp_path / "wav2vec2_fairseq_base_ls960.pth")
    as_published = BundleAudioPrior("WAV2VEC2_BASE", LAYERS, weights=str(tmp_path))
    assert torch.equal(as_published(sound, 12, 25.0), expected)
    assert len(as_published.identity["sha256"]) == 64

    folder = tmp_path / "other"
    folder.mkdir()
    save_file(dict(base.model.state_dict()), folder / "wav2vec2_fairseq_base_ls960.safetensors")
    monkeypatch.setenv("CDRL_WEIGHTS", str(folder))
    as_safetensors = BundleAudioPrior("WAV2VEC2_BASE", LAYERS)
    assert torch.equal(as_safetensors(sound, 12, 25.0), expected)


def test_the_weights_of_another_bundle_are_refused(base, tmp_path):
    file = "hubert_fairseq_large_ll60k.pth"
    torch.save(published_state(base.model), tmp_path / file)
    with pytest.raises(InputError, match=f"{file}: weights of another model"):
        BundleAudioPrior("HUBERT_LARGE", LAYERS, weights=str(tmp_path))
