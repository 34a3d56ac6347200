"""Timestamps are the only truth: sound and pictures keep their places in reading and writing."""

from fractions import Fraction

import av
import numpy as np
import pytest
from media_files import (
    colour_patches,
    sound_packets,
    tone_starts,
    tones,
    write_pictures,
    write_sound,
)

from cdrl.core.errors import InputError
from cdrl.corpora import samples
from cdrl.media.clock import PictureClock, SoundPiece, place_sound
from cdrl.media.encoding import write_edit
from cdrl.media.sound import channel_weights
from cdrl.media.video import read_audio, read_metadata, read_video, video_facts

SAMPLE = samples.sample_folder() / "1001_DFA_ANG_XX.flv"
STARTS = (0.3, 1.3, 2.7, 3.5)
ENCODED_ANEW = ["pcm_s16le", "libopus", "flac", "mp2", "ac3"]


def edit_of_nothing(source, out, say=lambda line: None):
    frames = read_video(source, None, require_audio=False).frames
    write_edit(source, frames, out, say=say)
    return frames


@pytest.mark.parametrize("codec", [*ENCODED_ANEW, "aac", "libmp3lame"])
def test_a_pause_in_the_sound_keeps_what_follows_in_its_place(tmp_path, codec):
    sound = tones(4, STARTS, 48_000)
    source = write_sound(tmp_path / "a.mkv", [sound], codec=codec, holes=[(1.5, 2.5)])
    lines = []
    edit_of_nothing(source, tmp_path / "b.mp4", lines.append)
    assert ("to aac" in "".join(lines)) == (codec in ENCODED_ANEW)
    of_source = tone_starts(read_audio(source, 0, 4), STARTS)
    of_edit = tone_starts(read_audio(tmp_path / "b.mp4", 0, 4), STARTS)
    # Opus and MP2 state their encoders' delay more or less exactly.
    assert np.abs(of_source - STARTS).max() < 0.03
    assert np.abs(of_edit - of_source).max() < 0.01


@pytest.mark.parametrize("milliseconds", [20, 60, 100])
def test_small_holes_move_nothing(tmp_path, milliseconds):
    holes = [(start, start + milliseconds / 1000) for start in (1.0, 2.0, 3.0)]
    sound = tones(4, STARTS, 48_000)
    source = write_sound(tmp_path / "a.mkv", [sound], codec="pcm_s16le", holes=holes)
    edit_of_nothing(source, tmp_path / "b.mp4")
    for path in (source, tmp_path / "b.mp4"):
        heard = tone_starts(read_audio(path, 0, 4), STARTS)
        assert np.abs(heard - STARTS).max() < 0.01, path


@pytest.mark.slow
def test_ten_minutes_of_encoded_sound_with_a_hole_every_second_stay_within_ten_milliseconds(
    tmp_path,
):
    starts = np.arange(0.5, 600, 50)
    holes = [(second, second + 0.06) for second in range(1, 600)]
    source = write_sound(
        tmp_path / "a.mkv",
        [tones(600, starts, 16_000)],
        codec="pcm_s16le",
        rate=16_000,
        holes=holes,
        seconds=600,
        picture_rate=1,
    )
    edit_of_nothing(source, tmp_path / "b.mp4")
    for path in (source, tmp_path / "b.mp4"):
        heard = tone_starts(read_audio(path, 0, 600), starts)
        assert np.abs(heard - starts).max() < 0.01, path


@pytest.mark.parametrize(
    "name, codec", [("a.mp4", "aac"), ("a.mkv", "aac"), ("a.ts", "aac"), ("a.mkv", "libmp3lame")]
)
def test_copied_sound_is_the_same_to_the_bit(tmp_path, name, codec):
    sound = tones(4, STARTS, 48_000) + 0.1 * np.sin(np.arange(4 * 48_000, dtype=np.float32) / 9)
    source = write_sound(tmp_path / name, [sound.astype(np.float32)], codec=codec)
    edit_of_nothing(source, tmp_path / "b.mp4")
    copy = tmp_path / "b.mp4"
    if name != "a.ts":  # its packets carry headers that an mp4 holds once
        assert packet_bytes(copy, 0) == packet_bytes(source, 0)
    start = video_start(source)
    before = read_audio(source, start, 3.9)
    after = read_audio(copy, video_start(copy), 3.9)
    assert np.abs(tone_starts(before, STARTS) - tone_starts(after, STARTS)).max() < 0.001
    if name == "a.mp4":  # other containers round their clocks to a millisecond
        assert (before == after).all()


def test_other_tracks_title_and_chapters_go_along_and_what_cannot_is_named(tmp_path):
    other = (0.5, 1.5, 2.5, 3.5)
    languages = [{"language": "eng"}, {"language": "fra"}]
    source = write_sound(
        tmp_path / "a.mkv",
        [tones(4, STARTS, 48_000), tones(4, other, 48_000)],
        titles=languages,
        metadata={"title": "My talk", "comment": "my words"},
        chapters=[(0.0, 1.5), (1.5, 4.0)],
    )
    lines = []
    frames = read_video(source, None).frames
    write_edit(source, frames, tmp_path / "b.mp4", {"title": "edited"}, lines.append)
    assert "fra" in lines[0] and "kept" in lines[0] and "2 chapters" in lines[0]
    metadata = read_metadata(tmp_path / "b.mp4")
    assert "My talk" in metadata["title"] and "edited" in metadata["title"]
    assert metadata["source_comment"] == "my words"
    with av.open(str(tmp_path / "b.mp4")) as container:
        tracks = container.streams.audio
        assert [track.metadata["language"] for track in tracks] == ["eng", "fra"]
        starts = [float(part["start"] * part["time_base"]) for part in container.chapters()]
    assert starts == pytest.approx([0.0, 1.5], abs=0.03)
    assert packet_bytes(tmp_path / "b.mp4", 1) == packet_bytes(source, 1)


def video_start(path):
    """The time of the first picture, on the file's own clock, s."""
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).time


def packet_bytes(path, track):
    """The packets of a sound track, one after the other."""
    with av.open(str(path)) as container:
        stream = container.streams.audio[track]
        return b"".join(bytes(packet) for packet in container.demux(stream))


def with_subtitles(source, out):
    """A copy of a file with a subtitle that ends after the picture."""
    with av.open(str(source)) as reader, av.open(str(out), "w") as writer:
        copies = {
            stream.index: writer.add_stream_from_template(stream) for stream in reader.streams
        }
        subtitles = writer.add_mux_stream("subrip", time_base=Fraction(1, 1000))
        for packet in reader.demux():
            if packet.dts is not None:
                packet.stream = copies[packet.stream.index]
                writer.mux(packet)
        packet = av.Packet(b"late words")
        packet.stream = subtitles
        packet.pts = packet.dts = 8000
        packet.duration = 1000
        packet.time_base = Fraction(1, 1000)
        writer.mux(packet)
    return out


def test_subtitles_after_the_picture_are_no_truncation_and_named_as_dropped(tmp_path):
    plain = write_sound(tmp_path / "a.mkv", [tones(2, (0.5,), 48_000)], seconds=2, picture_rate=25)
    source = with_subtitles(plain, tmp_path / "b.mkv")
    lines = []
    frames = edit_of_nothing(source, tmp_path / "c.mp4", lines.append)
    assert len(frames) == 50
    assert "dropped" in lines[0] and "subtitles" in lines[0]
    assert str(tmp_path) not in lines[0]  # the file's name, as in the line on its faces


def test_the_default_track_is_the_one_that_is_read_and_written(tmp_path):
    other = (0.6, 1.6, 2.4, 3.2)
    source = write_sound(
        tmp_path / "a.mkv", [tones(4, other, 48_000), tones(4, STARTS, 48_000)], default=1
    )
    edit_of_nothing(source, tmp_path / "b.mp4")
    for path in (source, tmp_path / "b.mp4"):
        heard = tone_starts(read_audio(path, 0, 4), STARTS)
        assert np.abs(heard - STARTS).max() < 0.01


def test_a_longer_second_track_is_no_truncation(tmp_path):
    source = write_sound(
        tmp_path / "a.mp4", [tones(2, (), 48_000), tones(6, (), 48_000)], seconds=2
    )
    assert len(read_video(source).frames) == 50


@pytest.mark.parametrize("name", ["a.mp4", "a.avi", "a.mkv", "a.flv"])
def test_a_file_that_ends_early_is_truncated_in_every_container(tmp_path, name):
    codec = "flv1" if name.endswith("flv") else "mpeg4"
    noise = np.random.default_rng(0).integers(0, 256, (100, 96, 128, 3), np.uint8)
    path = write_pictures(tmp_path / name, noise, codec=codec, options={})
    data = path.read_bytes()
    path.write_bytes(data[: int(0.6 * len(data))])
    with pytest.raises(InputError):
        read_video(path, None, require_audio=False)


def test_joined_recordings_follow_each_other(tmp_path):
    sound = tones(2, (0.5, 1.5), 48_000)
    path = write_sound(tmp_path / "a.ts", [sound], seconds=2, picture_rate=25)
    joined = tmp_path / "b.ts"
    joined.write_bytes(path.read_bytes() * 3)
    facts = video_facts(joined)
    assert facts.num_frames == 150
    assert facts.seconds == pytest.approx(6, abs=0.1)
    clip = read_video(joined, 25)
    assert abs(len(clip.frames) - 150) <= 1
    lines = []
    write_edit(joined, read_video(joined, None).frames, tmp_path / "c.mp4", say=lines.append)
    assert "clock" in lines[0] and "2" in lines[0]
    starts = np.array([0.5, 1.5, 2.5, 3.5, 4.5, 5.5])
    heard = tone_starts(clip.audio, starts)
    # The sound of each recording is 27 ms longer than its pictures.
    assert np.abs(heard - starts).max() < 0.06
    edited = read_video(tmp_path / "c.mp4", 25)
    assert abs(len(edited.frames) - 150) <= 1
    assert np.abs(tone_starts(edited.audio, starts) - heard).max() < 0.03


@pytest.mark.parametrize("suffix, codec", [(".ts", "aac"), (".mpg", "mp2")])
@pytest.mark.parametrize("have_sound", [(0, 1), (1, 0), (1, 0, 1), (0, 1, 0, 0, 1)])
def test_of_joined_recordings_some_may_lack_sound(tmp_path, suffix, codec, have_sound):
    parts = []
    for has_sound in (0, 1):
        sounds = [tones(2, (0.5, 1.5), 48_000)] * has_sound
        path = write_sound(tmp_path / f"a{suffix}", sounds, codec=codec, seconds=2, picture_rate=25)
        parts.append(path.read_bytes())
    joined = tmp_path / f"b{suffix}"
    joined.write_bytes(b"".join(parts[has_sound] for has_sound in have_sound))
    edit_of_nothing(joined, tmp_path / "c.mp4")
    starts = []
    for number, has_sound in enumerate(have_sound):
        starts += [2 * number + 0.5, 2 * number + 1.5] * has_sound
    for path in (joined, tmp_path / "c.mp4"):
        clip = read_video(path)
        assert abs(len(clip.frames) - 50 * len(have_sound)) <= 1
        assert np.abs(tone_starts(clip.audio, starts) - starts).max() < 0.08, path


def test_the_clock_of_pictures_rises_whatever_the_file_states():
    clock = PictureClock(0.04)
    stated = [0.0, 0.04, 0.04, 0.08, None, 0.1, 0.2]
    times = [clock.time(seconds) for seconds in stated]
    assert (np.diff(times) > 0).all()
    assert times[:2] == [0.0, 0.04] and times[3] == 0.08 and times[6] == 0.2


def test_pictures_with_equal_timestamps_can_be_edited(tmp_path):
    frames = colour_patches(6)
    for k, frame in enumerate(frames):
        frame[:] = 30 * k + 30
    source = write_pictures(
        tmp_path / "a.mkv",
        frames,
        codec="mjpeg",
        pixels="yuvj420p",
        options={},
        times=[0, 1, 1, 2, 2, 3],
    )
    before = edit_of_nothing(source, tmp_path / "b.mp4")
    after = read_video(tmp_path / "b.mp4", None, require_audio=False).frames
    assert len(before) == len(after) == 6
    assert np.abs(after.mean(axis=(1, 2, 3)) - before.mean(axis=(1, 2, 3))).max() < 1


def place(stated, length=0.02):
    pieces = [SoundPiece(seconds, length, k) for k, seconds in enumerate(stated)]
    return [placed.seconds for placed in place_sound("a.mkv", pieces)]


def test_sound_runs_evenly_under_a_clock_that_trembles():
    rng = np.random.default_rng(0)
    even = 0.02 * np.arange(200)
    trembling = even + rng.uniform(-0.015, 0.015, 200)
    trembling[0] = 0
    assert place(trembling) == pytest.approx(even)
    with_hole = trembling + np.where(np.arange(200) < 100, 0, 0.06)
    assert np.abs(np.array(place(with_hole)) - even)[:95].max() < 0.001
    assert np.abs(np.array(place(with_hole)) - even - 0.06)[105:].max() < 0.016


def test_sound_that_leaps_by_hours_is_refused_in_one_line():
    with pytest.raises(InputError) as caught:
        place([0.0, 0.02, 9000.0, 9000.02])
    assert "a.mkv" in str(caught.value) and "clock" in str(caught.value)


LAYOUTS = ["mono", "stereo", "quad", "5.1", "6.1", "7.1", "hexadecagonal"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_sound_of_any_number_of_channels_is_read_and_edited(tmp_path, layout):
    num_channels = av.AudioLayout(layout).nb_channels
    sound = np.repeat(tones(4, STARTS, 48_000)[:, None], num_channels, 1)
    source = write_sound(tmp_path / "a.mkv", [sound], codec="pcm_s16le", layout=layout)
    edit_of_nothing(source, tmp_path / "b.mp4")
    for path in (source, tmp_path / "b.mp4"):
        heard = read_audio(path, 0, 4)
        assert np.abs(heard).max() > 0.5
        assert np.abs(tone_starts(heard, STARTS) - STARTS).max() < 0.01
    with av.open(str(tmp_path / "b.mp4")) as container:
        kept = container.streams.audio[0].codec_context.layout.nb_channels
    assert kept == (num_channels if num_channels in (1, 2, 6) else 2)


@pytest.mark.parametrize(
    "layout, gains",
    [
        ("stereo", [1, -1]),
        ("stereo", [1, 0]),
        ("stereo", [0, -1]),
        ("5.1", [0, 0, 1, 0, 0, 0]),
        ("5.1", [0.2, 0.2, 1, 0.3, 0.1, 0.1]),
        ("7.1", [0, 0, 1, 0, 0, 0, 0, 0]),
        ("quad", [1, 1, -1, -1]),
    ],
)
def test_speech_in_any_channels_is_heard(tmp_path, layout, gains):
    sound = tones(4, STARTS, 48_000)[:, None] * np.array(gains, np.float32)
    source = write_sound(tmp_path / "a.mkv", [sound], codec="pcm_s16le", layout=layout)
    heard = read_audio(source, 0, 4)
    assert np.abs(heard).max() > 0.7


def test_silence_has_weights_too():
    assert channel_weights(["FL", "FR"], np.zeros((2, 2))).tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    "codec, setups",
    [
        ("aac", [(44_100, "mono"), (48_000, "stereo")]),
        ("aac", [(48_000, "mono"), (16_000, "mono")]),
        ("libmp3lame", [(48_000, "stereo"), (44_100, "stereo")]),
    ],
)
def test_an_edit_of_joined_recordings_with_unlike_sound_keeps_pitch_and_place(
    tmp_path, codec, setups
):
    data = b""
    for rate, layout in setups:
        num_channels = 1 if layout == "mono" else 2
        tone = 0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * rate) / rate).astype(np.float32)
        tone[: rate // 2] = 0
        channels = np.repeat(tone[:, None], num_channels, 1)
        part = write_sound(
            tmp_path / "a.ts", [channels], codec=codec, rate=rate, layout=layout, seconds=2
        )
        data += part.read_bytes()
    joined = tmp_path / "b.ts"
    joined.write_bytes(data)
    lines = []
    edit_of_nothing(joined, tmp_path / "c.mp4", lines.append)
    assert "whose rate or channels change" in lines[0]
    heard = read_video(tmp_path / "c.mp4").audio
    of_source = tone_starts(read_video(joined).audio, (0.5, 2.5))
    assert np.abs(tone_starts(heard, (0.5, 2.5)) - of_source).max() < 0.01
    for first in (11_200, 43_200):  # 0.7 and 2.7 s
        assert np.abs(np.fft.rfft(heard[first : first + 16_000])).argmax() == 440


def test_sound_that_changes_rate_and_channels_is_heard_to_its_end(tmp_path):
    parts = []
    for rate, layout in ((44_100, "mono"), (48_000, "stereo")):
        path = tmp_path / f"{rate}.mp3"
        num_channels = 1 if layout == "mono" else 2
        with av.open(str(path), "w", options={"write_xing": "0"}) as container:
            stream = container.add_stream("libmp3lame", rate=rate, layout=layout)
            wave = 0.5 * np.sin(np.arange(rate) / 20).astype(np.float32)
            channels = np.repeat(wave[:, None], num_channels, 1)
            for packet in sound_packets(stream, channels, rate, layout):
                container.mux(packet)
        parts.append(path.read_bytes())
    joined = tmp_path / "c.mp3"
    joined.write_bytes(b"".join(parts))
    loudness = np.abs(read_audio(joined, 0, 2))
    assert loudness[4_000:12_000].max() > 0.1
    assert loudness[20_000:28_000].max() > 0.1
