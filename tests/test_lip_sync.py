"""LSE-D and LSE-C: cepstra against golden values and a slow reference, distances against loops; weights are random, none are to be had here."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cdrl.core.errors import InputError
from cdrl.evaluation.lip_sync import MARGIN, MAX_SHIFT, cepstra, load_syncnet, lse, sync_distances
from cdrl.models.syncnet import SyncNet

# python_speech_features 0.6, mfcc(round(32767 sound), 16000), second span of a tone of 440 Hz and half the greatest amplitude.
TONE = np.sin(2 * np.pi * 440 * np.arange(1600) / 16000) / 2
GOLDEN = [20.5, 27.095, 10.215, -7.168]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SyncNet().eval().requires_grad_(False)


def clip(frames, seconds, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 256, (frames, 64, 64, 3), dtype=np.uint8), random.normal(
        0, 0.1, int(seconds * 16000)
    )


def test_cepstra_are_those_that_the_network_learnt_on():
    assert np.allclose(cepstra(TONE, 25)[1, :4], GOLDEN, atol=6e-4)
    assert cepstra(TONE, 25).shape == (9, 13)
    assert cepstra(TONE, 30).shape == (11, 13)


def test_cepstra_of_one_span_agree_with_loops():
    sound = np.round(clip(1, 0.025)[1] * 32767)
    sound = [sound[0]] + [sound[k] - 0.97 * sound[k - 1] for k in range(1, 400)]
    power = [
        abs(sum(s * np.exp(-2j * np.pi * k * n / 512) for n, s in enumerate(sound))) ** 2 / 512
        for k in range(257)
    ]
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28)
    corner = [int(513 * 700 * (10 ** (m / 2595) - 1) / 16000) for m in mel]
    bands = []
    for j in range(26):
        total = 0.0
        for k in range(corner[j], corner[j + 1]):
            total += power[k] * (k - corner[j]) / (corner[j + 1] - corner[j])
        for k in range(corner[j + 1], corner[j + 2]):
            total += power[k] * (corner[j + 2] - k) / (corner[j + 2] - corner[j + 1])
        bands.append(np.log(total))
    wanted = [np.log(sum(power))]
    for c in range(1, 13):
        cosine = np.sqrt(2 / 26) * sum(
            b * np.cos(np.pi * c * (2 * j + 1) / 52) for j, b in enumerate(bands)
        )
        wanted.append(cosine * (1 + 11 * np.sin(np.pi * c / 22)))
    np.testing.assert_allclose(cepstra(clip(1, 0.025)[1], 25)[0], wanted, rtol=1e-9)


def test_distances_agree_with_a_loop_over_frames_and_shifts(network):
    frames, sound = clip(9, 0.4)
    found = sync_distances(network, frames, sound, 25)
    assert found.shape == (4, 2 * MAX_SHIFT + 1)
    cut = round(MARGIN * 64)
    heard = torch.from_numpy(cepstra(sound, 25).T.astype(np.float32))
    inner = (
        torch.from_numpy(frames[:, cut:-cut, cut:-cut][..., [2, 1, 0]]).permute(0, 3, 1, 2).float()
    )
    large = torch.nn.functional.interpolate(inner, (224, 224), mode="bilinear", align_corners=False)
    for row, shift in ((0, 0), (1, 2), (3, -3), (2, 5)):
        picture = network.extract_visual(large[None, row : row + 5].transpose(1, 2))[0]
        voice = torch.zeros(1024)
        if 0 <= row + shift < 4:
            start = 4 * (row + shift)
            voice = network.extract_audio(heard[None, None, :, start : start + 20])[0]
        assert found[row, MAX_SHIFT + shift] == pytest.approx(
            float((picture - voice + 1e-6).norm()), rel=1e-4
        )


def test_only_sound_under_the_frames_moves_a_distance(network):
    frames, sound = clip(12, 0.6)
    changed = sound.copy()
    changed[-4000:] = 0  # after frame 7.5 of the sound; rows 0 and 1 hear the first 6 frames
    before, after = (sync_distances(network, frames, s, 25)[:, MAX_SHIFT] for s in (sound, changed))
    assert np.array_equal(before[:2], after[:2])
    assert not np.allclose(before[4:], after[4:])


def test_the_least_shift_counts_and_its_lead_over_the_median():
    assert lse(np.array([[4.0, 2.0, 4.0], [6.0, 4.0, 6.0]])) == (3.0, 2.0)


def test_weights_are_read_by_name_and_others_refused(tmp_path, network):
    kept = tmp_path / "syncnet_v2.model"
    torch.save(network.state_dict(), kept)
    frames, sound = clip(7, 0.4)
    assert np.array_equal(
        sync_distances(load_syncnet(kept), frames, sound, 25),
        sync_distances(network, frames, sound, 25),
    )
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="weights of another model"):
        load_syncnet(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="no such file of weights"):
        load_syncnet(tmp_path / "none.model")


def test_too_little_sound_is_told(network):
    with pytest.raises(
        InputError,
        match="lip sync: 20 frames and 0.10 s of sound; at least 6 frames of both are needed",
    ):
        sync_distances(network, *clip(20, 0.1), 25)
