"""The wide audio priors on random weights of the real architectures: windows, batches, frames, files."""

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
    """The real bundles (front end, widths, normalisation), two transformer layers instead of 12 or 24: seconds, not minutes."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("WAV2VEC2_BASE", "WAV2VEC2_XLSR53", "HUBERT_LARGE"):
            bundle = getattr(pipelines, name)
            patch.setattr(
                pipelines,
                name,
                replace(bundle, _params=bundle._params | {"encoder_num_layers": LAYERS}),
            )
        yield


@pytest.fixture(scope="module")
def base(few_layers):
    return BundleAudioPrior("WAV2VEC2_BASE/random", LAYERS)


@pytest.fixture(scope="module")
def xlsr(few_layers):
    return BundleAudioPrior("WAV2VEC2_XLSR53/random", LAYERS)


def sound(seconds, seed=0):
    return (
        np.random.default_rng(seed).standard_normal(int(seconds * 16000)).astype(np.float32) * 0.1
    )


def windowed(prior, windows):
    """The same network, cut another way."""
    other = object.__new__(BundleAudioPrior)
    other.__dict__ = prior.__dict__ | {"windows": windows}
    return other


def test_the_released_windows_are_128_frames_with_15_of_the_one_before():
    assert released_windows(300) == [(0, 128, 0), (113, 241, 15), (226, 300, 15)]
    assert released_windows(128) == [(0, 128, 0)] and released_windows(129)[1:] == [(113, 129, 15)]
    for frames in (1, 40, 241, 242, 777):
        kept = [
            k
            for first, end, dropped in released_windows(frames)
            for k in range(first + dropped, end)
        ]
        assert kept == list(range(frames))


@torch.no_grad()
def test_released_windows_equal_a_slow_transcription(xlsr):
    heard, frames = sound(150 / 30, 1), 150
    slow, at = [], 0
    while at < frames:
        first, end = (0, 128) if at == 0 else (at - 15, at + 113)
        end = min(end, frames)
        part = torch.from_numpy(heard[int(first * 16000 / 30) : int(np.ceil(end * 16000 / 30))])[
            None
        ]
        part, _ = xlsr.model.feature_extractor(
            part, None
        )  # the parts, as the release: the waveform is not normalised
        part = xlsr.model.encoder.extract_features(part, None, LAYERS)[-1]
        part = F.interpolate(part.transpose(1, 2), end - first, mode="linear", align_corners=True)[
            0
        ].T
        slow.append(part if at == 0 else part[15:])
        at = end
    found = windowed(xlsr, "released")(heard, frames, 30.0)
    assert found.shape == (150, 1024)
    torch.testing.assert_close(found, torch.cat(slow), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("windows", ["whole", "released"])
@pytest.mark.parametrize("name", ["base", "xlsr"])
def test_batched_equals_one_by_one(name, windows, request):
    prior = windowed(request.getfixturevalue(name), windows)
    clips = [
        (sound(seconds, k), round(seconds * 25), 25.0)
        for k, seconds in enumerate((1.0, 0.37, 1.61))
    ]
    for many, (heard, *rest) in zip(prior.extract_clips(clips), clips, strict=True):
        torch.testing.assert_close(many, prior(heard, *rest), atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_a_whole_clip_equals_the_library_s_own_call_normalisation_included(xlsr):
    from torchaudio.pipelines._wav2vec2.utils import _extend_model

    heard = sound(1)
    theirs = _extend_model(xlsr.model, normalize_waveform=True).extract_features(
        torch.from_numpy(heard)[None], num_layers=LAYERS
    )[0][-1][0]
    torch.testing.assert_close(
        xlsr(heard, 25, 25.0), at_frames(theirs, 25, 25.0), atol=1e-4, rtol=1e-4
    )


def test_loudness_drops_out_of_a_whole_clip_and_not_of_the_released_windows(xlsr):
    heard, change = sound(0.5) * 10, {}
    for windows in ("whole", "released"):
        prior = windowed(xlsr, windows)
        loud, soft = prior(heard, 15, 30.0), prior(heard * 0.1, 15, 30.0)
        change[windows] = float((loud - soft).norm() / loud.norm())
    assert change["whole"] < 0.005 and change["released"] > 10 * change["whole"]


def test_a_frame_is_looked_up_at_its_middle_and_held_at_the_ends():
    features = torch.arange(50.0)[:, None]  # output t is centred on sample 320 t + 200
    found = at_frames(features, 25, 25.0)[:, 0]
    assert found[10].item() == pytest.approx((10.5 / 25 * 16000 - 200) / 320)
    assert (
        at_frames(features, 40, 25.0)[-1].item() == 49
        and at_frames(features, 200, 200.0)[0].item() == 0
    )


@pytest.mark.parametrize("windows", ["whole", "released"])
@pytest.mark.parametrize(
    "seconds, frames, rate", [(1.0, 25, 25.0), (1.0, 30, 29.97), (0.9, 30, 30.0), (0.01, 2, 25.0)]
)
def test_every_frame_of_the_video_gets_a_row_whatever_the_rate_and_however_short_the_sound(
    base, windows, seconds, frames, rate
):
    found = windowed(base, windows)(sound(seconds), frames, rate)
    assert found.shape == (frames, 768) and torch.isfinite(found).all()


def test_layers_differ_and_random_weights_are_the_same_in_two_constructions(base):
    heard = sound(0.5)
    again, first = (
        BundleAudioPrior("WAV2VEC2_BASE/random", LAYERS),
        BundleAudioPrior("WAV2VEC2_BASE/random", 1),
    )
    assert torch.equal(base(heard, 12, 25.0), again(heard, 12, 25.0))
    assert not torch.allclose(base(heard, 12, 25.0), first(heard, 12, 25.0), atol=1e-2)
    assert base.identity != first.identity and base.identity == again.identity


def test_the_full_xlsr_53_has_the_published_shape_and_its_layer_20_is_1024_wide():
    from torchaudio.models import wav2vec2_model

    params = pipelines.WAV2VEC2_XLSR53._params | {"encoder_num_layers": 24}
    with torch.device("meta"):  # 315 million parameters that take no memory
        model = wav2vec2_model(**params).eval()
        found = model.extract_features(torch.zeros(1, 16000), num_layers=20)[0]
    assert sum(p.numel() for p in model.parameters()) == 315_437_696
    assert len(found) == 20 and found[-1].shape == (1, 49, 1024)


def test_layers_windows_and_names_that_do_not_exist_are_refused():
    with pytest.raises(
        InputError,
        match="WAV2VEC2_BASE/random: layer 13 does not exist, it has layers 1 to 2; choose one with",
    ):
        BundleAudioPrior("WAV2VEC2_BASE/random", 13)
    with pytest.raises(InputError, match="windows=half: accepted are whole, released"):
        BundleAudioPrior("WAV2VEC2_BASE/random", 1, "half")
    with pytest.raises(
        InputError,
        match=r"unknown audio prior 'WAV2VEC2_XLSR54' \(did you mean WAV2VEC2_XLSR53\?\): accepted are",
    ):
        audio_prior("WAV2VEC2_XLSR54")


def published(model):
    """A state dict under the names that torchaudio's files have, older than torch's parametrisations."""
    names = {
        "parametrizations.weight.original0": "weight_g",
        "parametrizations.weight.original1": "weight_v",
    }
    state = {}
    for name, value in model.state_dict().items():
        for new, old in names.items():
            name = name.replace(new, old)
        state[name] = value.clone()
    return state


def test_weights_are_read_from_a_folder_as_published_or_as_safetensors(base, tmp_path, monkeypatch):
    heard = sound(0.5)
    torch.save(published(base.model), tmp_path / "wav2vec2_fairseq_base_ls960.pth")
    read = BundleAudioPrior("WAV2VEC2_BASE", LAYERS, weights=str(tmp_path))
    assert (
        torch.equal(read(heard, 12, 25.0), base(heard, 12, 25.0))
        and len(read.identity["sha256"]) == 64
    )
    other = tmp_path / "other"
    other.mkdir()
    save_file(dict(base.model.state_dict()), other / "wav2vec2_fairseq_base_ls960.safetensors")
    monkeypatch.setenv("CDRL_WEIGHTS", str(other))
    assert torch.equal(
        BundleAudioPrior("WAV2VEC2_BASE", LAYERS)(heard, 12, 25.0), base(heard, 12, 25.0)
    )


def test_the_weights_of_another_bundle_are_refused(base, tmp_path):
    torch.save(published(base.model), tmp_path / "hubert_fairseq_large_ll60k.pth")
    with pytest.raises(
        InputError, match="hubert_fairseq_large_ll60k.pth: weights of another model"
    ):
        BundleAudioPrior("HUBERT_LARGE", LAYERS, weights=str(tmp_path))
