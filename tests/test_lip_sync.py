"""LSE-D and LSE-C: cepstra against golden values and loops, distances against loops.

The weights are random: the published ones are not here.
"""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cdrl.core.errors import InputError
from cdrl.evaluation.lip_sync import (
    MARGIN,
    MAX_SHIFT,
    cepstra,
    load_syncnet,
    lse,
    lse_of_clip,
    sync_distances,
)
from cdrl.models.syncnet import SyncNet

# python_speech_features 0.6, mfcc(round(32767 sound), 16000): the second span of a tone of 440 Hz
# at half the greatest amplitude.
TONE = np.sin(2 * np.pi * 440 * np.arange(1600) / 16000) / 2
GOLDEN = [20.5, 27.095, 10.215, -7.168]


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SyncNet().eval().requires_grad_(False)


def clip(frames, seconds, seed=0):
    random = np.random.default_rng(seed)
    picture = random.integers(0, 256, (frames, 64, 64, 3), dtype=np.uint8)
    sound = random.normal(0, 0.1, int(seconds * 16000))
    return picture, sound


def test_cepstra_are_those_that_the_network_was_trained_on():
    assert np.allclose(cepstra(TONE, 25)[1, :4], GOLDEN, atol=6e-4)
    assert cepstra(TONE, 25).shape == (9, 13)
    assert cepstra(TONE, 30).shape == (11, 13)


def test_cepstra_of_one_span_agree_with_loops():
    _, sound = clip(1, 0.025)
    levels = np.round(sound * 32767)
    emphasised = [levels[0]]
    for n in range(1, 400):
        emphasised.append(levels[n] - 0.97 * levels[n - 1])
    power = []
    for k in range(257):
        coefficient = 0
        for n, level in enumerate(emphasised):
            coefficient += level * np.exp(-2j * np.pi * k * n / 512)
        power.append(abs(coefficient) ** 2 / 512)
    mels = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28)
    corner = [int(513 * 700 * (10 ** (mel / 2595) - 1) / 16000) for mel in mels]
    bands = []
    for j in range(26):
        total = 0.0
        for k in range(corner[j], corner[j + 1]):
            total += power[k] * (k - corner[j]) / (corner[j + 1] - corner[j])
        for k in range(corner[j + 1], corner[j + 2]):
            total += power[k] * (corner[j + 2] - k) / (corner[j + 2] - corner[j + 1])
        bands.append(np.log(total))
    expected = [np.log(sum(power))]
    for c in range(1, 13):
        total = 0.0
        for j, band in enumerate(bands):
            total += band * np.cos(np.pi * c * (2 * j + 1) / 52)
        lift = 1 + 11 * np.sin(np.pi * c / 22)
        expected.append(np.sqrt(2 / 26) * total * lift)
    np.testing.assert_allclose(cepstra(sound, 25)[0], expected, rtol=1e-9)


def test_distances_agree_with_a_loop_over_frames_and_shifts(network):
    frames, sound = clip(9, 0.4)
    distances = sync_distances(network, frames, sound, 25)
    assert distances.shape == (4, 2 * MAX_SHIFT + 1)

    columns = torch.from_numpy(cepstra(sound, 25).T.astype(np.float32))
    cut = round(MARGIN * 64)
    bgr = frames[:, cut:-cut, cut:-cut][..., [2, 1, 0]]
    inner = torch.from_numpy(bgr).permute(0, 3, 1, 2).float()
    images = torch.nn.functional.interpolate(
        inner, (224, 224), mode="bilinear", align_corners=False
    )
    for row, shift in ((0, 0), (1, 2), (3, -3), (2, 5)):
        visual = network.extract_visual(images[None, row : row + 5].transpose(1, 2))[0]
        audio = torch.zeros(1024)
        if 0 <= row + shift < 4:
            start = 4 * (row + shift)
            audio = network.extract_audio(columns[None, None, :, start : start + 20])[0]
        expected = float((visual - audio + 1e-6).norm())
        assert distances[row, MAX_SHIFT + shift] == pytest.approx(expected, rel=1e-4)


def test_only_sound_under_the_frames_moves_a_distance(network):
    frames, sound = clip(12, 0.6)
    changed = sound.copy()
    changed[-4000:] = 0  # after frame 7.5 of the sound; rows 0 and 1 hear the first 6 frames
    before = sync_distances(network, frames, sound, 25)[:, MAX_SHIFT]
    after = sync_distances(network, frames, changed, 25)[:, MAX_SHIFT]
    assert np.array_equal(before[:2], after[:2])
    assert not np.allclose(before[4:], after[4:])


def test_the_least_shift_counts_and_its_lead_over_the_median():
    assert lse(np.array([[4.0, 2.0, 4.0], [6.0, 4.0, 6.0]])) == (3.0, 2.0)


def test_weights_are_read_by_name_and_others_refused(tmp_path, network):
    path = tmp_path / "syncnet_v2.model"
    torch.save(network.state_dict(), path)
    frames, sound = clip(7, 0.4)
    distances = sync_distances(load_syncnet(path), frames, sound, 25)
    assert np.array_equal(distances, sync_distances(network, frames, sound, 25))
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="weights of another model"):
        load_syncnet(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="no such file of weights"):
        load_syncnet(tmp_path / "none.model")


def test_too_little_sound_is_told(network):
    frames, sound = clip(20, 0.1)
    with pytest.raises(InputError, match="20 frames and 0.10 s of sound; at least 6 frames"):
        sync_distances(network, frames, sound, 25)


def test_a_clip_of_under_six_frames_is_skipped(network):
    frames, sound = clip(5, 0.4)
    assert np.isnan(lse_of_clip(network, frames, sound, 25)).all()
    frames, sound = clip(9, 0.4)
    expected = lse(sync_distances(network, frames, sound, 25))
    assert lse_of_clip(network, frames, sound, 25) == expected
