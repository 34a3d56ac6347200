"""LSE-D and LSE-C: cepstra against golden values and loops, distances against loops."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cdrl.core.errors import InputError
from cdrl.evaluation.lip_sync import MARGIN, MAX_SHIFT, cepstra, load_syncnet, lse, sync_distances
from cdrl.models.syncnet import SyncNet

# python_speech_features 0.6, mfcc(round(32767 sound), 16000), second span of a tone of 440 Hz and
# half the greatest amplitude.
TONE = np.sin(2 * np.pi * 440 * np.arange(1600) / 16000) / 2
GOLDEN = [20.5, 27.095, 10.215, -7.168]


@pytest.fixture(scope="module")
def network():
    """Random weights: the published ones are not here."""
    torch.manual_seed(0)
    return SyncNet().eval().requires_grad_(False)


def make_clip(frames, seconds, seed=0):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (frames, 64, 64, 3), dtype=np.uint8)
    sound = random.normal(0, 0.1, int(seconds * 16000))
    return images, sound


def test_cepstra_are_those_that_the_network_learnt_on():
    assert np.allclose(cepstra(TONE, 25)[1, :4], GOLDEN, atol=6e-4)
    assert cepstra(TONE, 25).shape == (9, 13)
    assert cepstra(TONE, 30).shape == (11, 13)


def naive_power(samples):
    """Power of 257 frequencies after pre-emphasis, by sums."""
    emphasised = [samples[0]]
    for n in range(1, 400):
        emphasised.append(samples[n] - 0.97 * samples[n - 1])
    power = []
    for k in range(257):
        total = 0.0
        for n, value in enumerate(emphasised):
            total += value * np.exp(-2j * np.pi * k * n / 512)
        power.append(abs(total) ** 2 / 512)
    return power


def naive_bands(power):
    """Logarithms of 26 triangular mel bands, by sums."""
    mel = np.linspace(0, 2595 * np.log10(1 + 8000 / 700), 28)
    corners = [int(513 * 700 * (10 ** (value / 2595) - 1) / 16000) for value in mel]
    bands = []
    for left, middle, right in zip(corners, corners[1:], corners[2:], strict=False):
        total = 0.0
        for k in range(left, middle):
            total += power[k] * (k - left) / (middle - left)
        for k in range(middle, right):
            total += power[k] * (right - k) / (right - middle)
        bands.append(np.log(total))
    return bands


def test_cepstra_of_one_span_agree_with_loops():
    _, sound = make_clip(1, 0.025)
    power = naive_power(np.round(sound * 32767))
    bands = naive_bands(power)
    expected = [np.log(sum(power))]
    for c in range(1, 13):
        total = 0.0
        for j, band in enumerate(bands):
            total += band * np.cos(np.pi * c * (2 * j + 1) / 52)
        lifter = 1 + 11 * np.sin(np.pi * c / 22)
        expected.append(np.sqrt(2 / 26) * total * lifter)
    np.testing.assert_allclose(cepstra(sound, 25)[0], expected, rtol=1e-9)


def prepared_frames(images):
    """(T, 64, 64, 3) uint8 -> (T, 3, 224, 224) BGR of the middle of the crop."""
    border = round(MARGIN * 64)
    bgr = images[:, border:-border, border:-border][..., [2, 1, 0]]
    inner = torch.from_numpy(bgr).permute(0, 3, 1, 2).float()
    size = (224, 224)
    return torch.nn.functional.interpolate(inner, size, mode="bilinear", align_corners=False)


def test_distances_agree_with_a_loop_over_frames_and_shifts(network):
    images, sound = make_clip(9, 0.4)
    distances = sync_distances(network, images, sound, 25)
    assert distances.shape == (4, 2 * MAX_SHIFT + 1)

    frames = prepared_frames(images)
    columns = torch.from_numpy(cepstra(sound, 25).T.astype(np.float32))
    for row, shift in ((0, 0), (1, 2), (3, -3), (2, 5)):
        window = frames[None, row : row + 5].transpose(1, 2)
        visual = network.extract_visual(window)[0]
        audio = torch.zeros(1024)
        if 0 <= row + shift < 4:
            start = 4 * (row + shift)
            audio = network.extract_audio(columns[None, None, :, start : start + 20])[0]
        distance = float((visual - audio + 1e-6).norm())
        assert distances[row, MAX_SHIFT + shift] == pytest.approx(distance, rel=1e-4)


def test_only_sound_under_the_frames_moves_a_distance(network):
    images, sound = make_clip(12, 0.6)
    changed = sound.copy()
    changed[-4000:] = 0  # from frame 7.5 on; rows 0 and 1 depend on the first 6 frames
    before = sync_distances(network, images, sound, 25)[:, MAX_SHIFT]
    after = sync_distances(network, images, changed, 25)[:, MAX_SHIFT]
    assert np.array_equal(before[:2], after[:2])
    assert not np.allclose(before[4:], after[4:])


def test_the_least_shift_counts_and_its_lead_over_the_median():
    distances = np.array([[4.0, 2.0, 4.0], [6.0, 4.0, 6.0]])
    assert lse(distances) == (3.0, 2.0)


def test_weights_are_read_by_name_and_others_refused(tmp_path, network):
    path = tmp_path / "syncnet_v2.model"
    torch.save(network.state_dict(), path)
    images, sound = make_clip(7, 0.4)
    distances = sync_distances(load_syncnet(path), images, sound, 25)
    assert np.array_equal(distances, sync_distances(network, images, sound, 25))

    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"other.safetensors: weights of another model"):
        load_syncnet(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"none.model: no such file of weights"):
        load_syncnet(tmp_path / "none.model")


def test_too_little_sound_is_said(network):
    images, sound = make_clip(20, 0.1)
    with pytest.raises(InputError, match=r"20 frames and 0.10 s of sound; at least 6 frames"):
        sync_distances(network, images, sound, 25)
