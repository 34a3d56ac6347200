"""Video files: one time base, exact round trips, and one line for every unusable file."""

import resource
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from cdrl.core.errors import InputError
from cdrl.corpora import samples
from cdrl.media.encoding import SYNTHETIC, write_edit, write_video
from cdrl.media.video import read_audio, read_metadata, read_video, read_video_stream, video_facts

SAMPLE = samples.sample_folder() / "1001_DFA_ANG_XX.flv"


def moving_picture(num_frames: int, height: int = 48, width: int = 64) -> np.ndarray:
    """(num_frames, H, W, 3) smooth frames whose brightness names the frame."""
    across = np.linspace(0, 40, width)[None, :, None]
    down = np.linspace(0, 30, height)[:, None, None]
    ramp = across + down
    frames = [np.broadcast_to(ramp + 4 * k, (height, width, 3)) for k in range(num_frames)]
    return np.stack(frames).astype(np.uint8)


def flash_and_beep(seconds: float, frame_rate: float, at: float, sample_rate: int = 16_000):
    """A white frame and a 1 kHz tone of one frame's length, both beginning at `at` seconds."""
    frames = np.full((round(seconds * frame_rate), 48, 64, 3), 20, np.uint8)
    frames[round(at * frame_rate)] = 235
    time = np.arange(round(seconds * sample_rate)) / sample_rate
    is_inside = (time >= at) & (time < at + 1 / frame_rate)
    tone = 0.8 * np.sin(2 * np.pi * 1000 * time) * is_inside
    return frames, tone.astype(np.float32)


def offset_seconds(clip) -> float:
    """Begin of the beep minus begin of the flash."""
    brightness = clip.frames.mean(axis=(1, 2, 3))
    flash = brightness.argmax() / clip.frame_rate
    is_loud = np.abs(clip.audio) > 0.3
    return is_loud.argmax() / 16_000 - flash


def encode(
    path,
    frames,
    frame_rate,
    *,
    audio=None,
    sample_rate=44_100,
    codec="mpeg4",
    audio_codec="aac",
    video_from=0.0,
    audio_from=0.0,
    audio_first=False,
    rotation=0,
):
    """Write a test file with any container, codec, stream order, start offsets and rotation."""
    base = 1 / Fraction(frame_rate).limit_denominator(1001)
    with av.open(str(path), "w") as container:
        sound = None
        if audio is not None and audio_first:
            sound = container.add_stream(audio_codec, rate=sample_rate, layout="mono")
        video = container.add_stream(codec, rate=1 / base)
        video.width = frames.shape[2]
        video.height = frames.shape[1]
        video.pix_fmt = "yuv420p"
        video.bit_rate = 4_000_000
        if rotation:
            video.set_display_rotation(rotation)
        if audio is not None and sound is None:
            sound = container.add_stream(audio_codec, rate=sample_rate, layout="mono")

        for k, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts = k + round(video_from * frame_rate)
            frame.time_base = base
            container.mux(video.encode(frame))
        if sound is not None:
            mux_sound(container, sound, audio, sample_rate, audio_from)
        container.mux(video.encode(None))
    return path


def mux_sound(container, sound, audio, sample_rate, audio_from):
    """Encode (S,) samples that begin at `audio_from` seconds."""
    samples = np.ascontiguousarray(audio[None])
    frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
    frame.sample_rate = sample_rate
    frame.time_base = Fraction(1, sample_rate)
    frame.pts = round(audio_from * sample_rate)
    resampler = av.AudioResampler(
        format=sound.codec_context.format, layout="mono", rate=sample_rate
    )
    for piece in [*resampler.resample(frame), *resampler.resample(None)]:
        container.mux(sound.encode(piece))
    container.mux(sound.encode(None))


def test_written_video_reads_back_with_the_same_frames_rate_and_sound_length(tmp_path):
    frames = moving_picture(30)
    audio = 0.5 * np.sin(np.arange(30 * 640) / 7).astype(np.float32)
    write_video(tmp_path / "a.mp4", frames, 25, audio)
    clip = read_video(tmp_path / "a.mp4")
    assert clip.frames.shape == frames.shape
    assert clip.frames.dtype == np.uint8
    assert clip.frame_rate == 25
    assert len(clip.audio) == len(audio)
    assert np.abs(clip.frames.astype(int) - frames).mean() < 2
    assert np.corrcoef(clip.audio, audio)[0, 1] > 0.99
    assert clip.name == "a"
    assert clip.media.endswith("a.mp4")


@pytest.mark.parametrize("height, width", [(96, 128), (720, 960)])
def test_colours_survive_the_round_trip_at_small_and_at_large_size(tmp_path, height, width):
    colours = [(200, 60, 50), (60, 170, 70), (50, 80, 190), (220, 180, 150)]
    quarter = width // 4
    patches = np.zeros((2, height, width, 3), np.uint8)
    for k, colour in enumerate(colours):
        patches[:, :, k * quarter : (k + 1) * quarter] = colour
    write_video(tmp_path / "c.mp4", patches, 25)
    frames = read_video(tmp_path / "c.mp4", require_audio=False).frames
    for k, colour in enumerate(colours):
        left = k * quarter + 12
        right = (k + 1) * quarter - 12
        middle = frames[:, 20:-20, left:right]
        mean_colour = middle.reshape(-1, 3).mean(axis=0)
        assert np.abs(mean_colour - colour).max() < 4


def test_odd_sizes_grow_by_the_repeated_edge(tmp_path):
    write_video(tmp_path / "odd.mp4", moving_picture(5, 47, 63), 25)
    clip = read_video(tmp_path / "odd.mp4", require_audio=False)
    assert clip.frames.shape == (5, 48, 64, 3)


def test_flash_and_beep_stay_together_through_write_and_read(tmp_path):
    frames, audio = flash_and_beep(2.0, 25, at=0.8)
    write_video(tmp_path / "sync.mp4", frames, 25, audio)
    clip = read_video(tmp_path / "sync.mp4")
    assert abs(offset_seconds(clip)) < 0.005


@pytest.mark.parametrize(
    "name, codec, audio_codec",
    [("a.mp4", "mpeg4", "aac"), ("a.mkv", "mpeg4", "pcm_s16le"), ("a.flv", "flv1", "libmp3lame")],
)
def test_flash_and_beep_stay_together_with_offsets_and_the_sound_stream_first(
    tmp_path, name, codec, audio_codec
):
    frames, audio = flash_and_beep(2.0, 25, at=0.8, sample_rate=44_100)
    # The sound begins .2 s before the picture; in the file's time both events are at 1.0 s.
    silence = np.zeros(round(0.2 * 44_100), np.float32)
    path = encode(
        tmp_path / name,
        frames,
        25,
        audio=np.concatenate([silence, audio]),
        codec=codec,
        audio_codec=audio_codec,
        video_from=0.2,
        audio_first=True,
    )
    clip = read_video(path)
    assert len(clip.frames) == 50
    # MP3's own delay of 1105 samples (25 ms) is not marked in FLV: less than a frame.
    tolerance = 0.04 if audio_codec == "libmp3lame" else 0.005
    assert abs(offset_seconds(clip)) < tolerance


def test_sound_that_starts_late_is_padded_with_silence(tmp_path):
    frames = moving_picture(50)
    audio = 0.5 * np.sin(np.arange(44_100) / 5).astype(np.float32)
    path = encode(
        tmp_path / "late.mkv", frames, 25, audio=audio, audio_codec="pcm_s16le", audio_from=0.5
    )
    sound = read_video(path).audio
    assert len(sound) == 32_000
    assert np.abs(sound[:7_900]).max() < 0.01
    assert np.abs(sound[8_100:23_900]).max() > 0.4
    assert np.abs(sound[24_100:]).max() < 0.01


def test_crema_d_facts():
    facts = video_facts(SAMPLE, require_audio=True)
    assert (facts.width, facts.height) == (480, 360)
    assert facts.num_frames == 67
    assert facts.sample_rate == 44_100
    assert facts.frame_rate == pytest.approx(29.97, abs=0.01)
    assert facts.seconds == pytest.approx(2.235, abs=0.01)
    clip = read_video(SAMPLE)
    assert clip.frames.shape == (56, 360, 480, 3)
    assert len(clip.audio) == round(56 / 25 * 16_000)
    assert 0.1 < np.abs(clip.audio).max() <= 1


def test_resampling_takes_the_frame_with_the_nearest_timestamp():
    original = read_video(SAMPLE, frame_rate=None)
    resampled = read_video(SAMPLE, frame_rate=25)
    with av.open(str(SAMPLE)) as container:
        times = np.array([frame.time for frame in container.decode(video=0)])
    times -= times[0]
    for k, frame in enumerate(resampled.frames):
        distances = np.abs(times - k / 25)
        nearest = np.flatnonzero(distances < distances.min() + 1e-6)
        assert any((frame == original.frames[n]).all() for n in nearest), k


def test_streaming_gives_the_same_frames_in_bounded_chunks():
    whole = read_video(SAMPLE).frames
    chunks = list(read_video_stream(SAMPLE, 25.0, chunk=10))
    assert max(len(chunk) for chunk in chunks) == 10
    assert (np.concatenate(chunks) == whole).all()


def test_doubling_the_rate_shows_every_frame_twice(tmp_path):
    write_video(tmp_path / "a.mp4", moving_picture(20), 25)
    slow = read_video(tmp_path / "a.mp4", 25, require_audio=False).frames
    fast = read_video(tmp_path / "a.mp4", 50, require_audio=False).frames
    assert len(fast) == 40
    assert (fast[2::2] == slow[1:]).all()


def test_rotated_recordings_come_out_upright(tmp_path):
    frames = np.zeros((4, 48, 64, 3), np.uint8)
    frames[:, :16] = 230  # a light band along the stored upper edge
    path = encode(tmp_path / "turned.mp4", frames, 25, rotation=90)
    upright = read_video(path, require_audio=False).frames
    assert upright.shape == (4, 64, 48, 3)
    # Counterclockwise: the band is on the left.
    assert upright[:, :, :10].mean() > 200
    assert upright[:, :, -10:].mean() < 40


@pytest.mark.parametrize("name, audio_codec", [("s.mp4", "aac"), ("s.mkv", "pcm_s16le")])
def test_edit_keeps_length_rate_clock_and_sound_of_the_source(tmp_path, name, audio_codec):
    frames, audio = flash_and_beep(2.0, 29.97, at=1.0, sample_rate=44_100)
    source = encode(tmp_path / name, frames, 29.97, audio=audio, audio_codec=audio_codec)
    out = tmp_path / "out.mp4"
    before = read_video(source, frame_rate=None)
    num_written = write_edit(source, iter(before.frames), out)
    after = read_video(out, frame_rate=None)
    assert num_written == len(after.frames) == len(before.frames)
    assert after.frame_rate == pytest.approx(before.frame_rate, rel=1e-3)
    assert video_facts(out).sample_rate == 44_100
    assert abs(offset_seconds(after) - offset_seconds(before)) < 0.005
    # Timestamps of 1 ms round the rate in its fifth digit.
    assert abs(len(after.audio) - len(before.audio)) < 16
    assert np.corrcoef(after.audio[:31_000], before.audio[:31_000])[0, 1] > 0.99


def frame_times(path):
    with av.open(str(path)) as container:
        return np.array([frame.time for frame in container.decode(video=0)])


def test_edit_of_the_sample_copies_its_sound_bit_for_bit_and_its_timestamps(tmp_path):
    out = tmp_path / "out.mp4"
    before = read_video(SAMPLE, frame_rate=None)
    edited = 255 - before.frames
    write_edit(SAMPLE, edited, out, {"title": "a test"})
    after = read_video(out, frame_rate=None)
    assert len(after.frames) == 67
    assert np.abs(after.frames.astype(int) - edited).mean() < 3
    seconds = len(before.audio) / 16_000 - 0.01
    start = 0.027  # the sample's first picture, on the file's clock
    assert (read_audio(SAMPLE, start, seconds) == read_audio(out, start, seconds)).all()
    assert np.abs(frame_times(SAMPLE) - frame_times(out)).max() < 0.001


def test_edit_refuses_another_number_of_frames_and_leaves_nothing(tmp_path):
    frames = read_video(SAMPLE, frame_rate=None).frames
    with pytest.raises(ValueError, match="more than the 60 edited frames"):
        write_edit(SAMPLE, frames[:60], tmp_path / "out.mp4")
    with pytest.raises(ValueError, match="67 frames, more edited frames"):
        write_edit(SAMPLE, [*frames, frames[0]], tmp_path / "out.mp4")
    assert list(tmp_path.iterdir()) == []


def test_metadata_says_synthetic_and_carries_what_is_added(tmp_path):
    added = {"title": "happy", "cdrl_emotion": "happy"}
    write_video(tmp_path / "a.mp4", moving_picture(3), 25, metadata=added)
    metadata = read_metadata(tmp_path / "a.mp4")
    assert metadata["comment"] == SYNTHETIC
    assert "ynthetic" in metadata["description"]
    assert metadata["title"] == "happy"
    assert metadata["cdrl_emotion"] == "happy"


def test_a_failed_write_leaves_the_old_file_and_no_partial_one(tmp_path):
    path = tmp_path / "a.mp4"
    write_video(path, moving_picture(3), 25)
    old_bytes = path.read_bytes()

    def frames_that_break():
        yield from moving_picture(3)
        raise RuntimeError("the generator broke")

    with pytest.raises(RuntimeError, match="the generator broke"):
        write_video(path, frames_that_break(), 25)
    assert path.read_bytes() == old_bytes
    assert list(tmp_path.iterdir()) == [path]


def check_refused(action, *substrings):
    """The action raises an InputError of one line that has all the substrings."""
    with pytest.raises(InputError) as caught:
        action()
    message = str(caught.value)
    assert "\n" not in message
    for substring in substrings:
        assert substring in message, message


def test_missing_file_is_named(tmp_path):
    check_refused(lambda: read_video(tmp_path / "none.mp4"), "none.mp4", "no such file")


def test_a_folder_is_no_video(tmp_path):
    check_refused(lambda: read_video(tmp_path), str(tmp_path), "no such file")


def test_empty_file_is_named(tmp_path):
    path = tmp_path / "empty.flv"
    path.write_bytes(b"")
    check_refused(lambda: read_video(path), "empty.flv", "not a readable video")


def test_text_file_with_a_video_name_is_named(tmp_path):
    path = tmp_path / "note.mp4"
    path.write_text("this is not a video\n" * 200)
    check_refused(lambda: read_video(path), "note.mp4", "not a readable video")


def test_picture_is_refused(tmp_path):
    path = tmp_path / "photo.png"
    Image.fromarray(moving_picture(1)[0]).save(path)
    check_refused(lambda: read_video(path), "photo.png", "a picture")


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 0.8])
def test_truncated_sample_is_refused(tmp_path, fraction):
    data = SAMPLE.read_bytes()
    path = tmp_path / "cut.flv"
    path.write_bytes(data[: int(fraction * len(data))])
    check_refused(lambda: read_video(path), "cut.flv", "truncated")
    check_refused(lambda: list(read_video_stream(path)), "cut.flv", "truncated")


def test_truncated_mp4_is_refused(tmp_path):
    write_video(tmp_path / "a.mp4", moving_picture(50), 25)
    data = (tmp_path / "a.mp4").read_bytes()
    path = tmp_path / "cut.mp4"
    path.write_bytes(data[: len(data) // 2])
    check_refused(lambda: read_video(path, require_audio=False), "cut.mp4")


def test_silent_video_is_refused_where_sound_is_needed_and_read_where_not(tmp_path):
    path = tmp_path / "mute.mp4"
    write_video(path, moving_picture(5), 25)
    check_refused(lambda: read_video(path), "mute.mp4", "no sound")
    clip = read_video(path, require_audio=False)
    assert len(clip.frames) == 5
    assert clip.audio.shape == (0,)
    assert clip.audio.dtype == np.float32


def test_silent_video_can_be_edited(tmp_path):
    write_video(tmp_path / "mute.mp4", moving_picture(5), 25)
    num_written = write_edit(tmp_path / "mute.mp4", moving_picture(5), tmp_path / "out.mp4")
    assert num_written == 5
    assert read_video(tmp_path / "out.mp4", require_audio=False).audio.size == 0


def test_sound_without_picture_is_refused(tmp_path):
    path = tmp_path / "only.wav"
    silence = np.zeros((1, 16_000), np.int16)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(silence, format="s16", layout="mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    check_refused(lambda: read_video(path), "only.wav", "no video stream")


def test_output_name_must_be_mp4_and_not_the_source(tmp_path):
    frames = moving_picture(2)
    check_refused(lambda: write_video(tmp_path / "a.avi", frames, 25), "a.avi", ".mp4")
    path = tmp_path / "a.mp4"
    write_video(path, frames, 25)
    check_refused(lambda: write_edit(path, frames, path), "a.mp4", "source itself")


def test_too_long_a_video_is_refused_before_memory_is_gone(monkeypatch):
    monkeypatch.setattr("cdrl.media.video.MEMORY_LIMIT", 10 << 20)
    check_refused(lambda: read_video(SAMPLE), "1001_DFA_ANG_XX.flv", "too long")


@pytest.mark.parametrize("stem", ["x" * 251, "\u043b" * 124, "talk:1", "a{1}%03d[0]"])
def test_a_name_that_the_disk_allows_is_written_and_read(tmp_path, monkeypatch, stem):
    monkeypatch.chdir(tmp_path)
    path = Path(f"{stem}.mp4")
    write_video(path, np.zeros((3, 64, 64, 3), np.uint8), 25)
    assert len(read_video(path, None, require_audio=False).frames) == 3
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_full_disk_is_named_and_nothing_stays(tmp_path):
    path = tmp_path / "big.mp4"
    noise = np.random.default_rng(3).integers(0, 256, (40, 120, 160, 3), np.uint8)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))  # what a full disk or a quota does
    try:
        check_refused(lambda: write_video(path, noise, 25), "big.mp4", "cannot be written")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
