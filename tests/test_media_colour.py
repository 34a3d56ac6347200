"""Colours, fields and display geometry: one rule in reading and in writing."""

from fractions import Fraction

import av
import numpy as np
import pytest
from media_files import MATRIX_END, TURN_UNIT, colour_patches, write_pictures

from cdrl.media import colour
from cdrl.media.encoding import write_edit, write_video
from cdrl.media.video import read_video, video_facts

ALL_TAGS = [
    (matrix, color_range, primaries, transfer)
    for matrix, primaries, transfer in [
        (1, 1, 1),
        (4, 4, 4),
        (5, 5, 6),
        (6, 6, 6),
        (7, 7, 7),
        (9, 9, 14),
        (9, 9, 16),
        (9, 9, 18),
        (1, 12, 13),
    ]
    for color_range in (colour.LIMITED_RANGE, colour.FULL_RANGE)
]


def read_frames(path):
    return read_video(path, None, require_audio=False).frames


def tags_in(path):
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    return frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc


def check_untouched(source, out, said=lambda line: None):
    """Edit a square of a file; the rest stays within what a codec costs.

    Returns:
        Frames of the source, and of the edit.
    """
    before = read_frames(source)
    height, width = before.shape[1:3]
    wanted = before.copy()
    wanted[:, 8:40, 8:40] = 255 - wanted[:, 8:40, 8:40]
    write_edit(source, wanted, out, say=said)
    after = read_frames(out)[:, :height, :width]

    error = after.astype(int) - wanted
    is_background = np.ones((height, width), bool)
    is_background[:56, :56] = False
    background = error[:, is_background]
    assert abs(background.mean()) < 0.25
    assert np.abs(background.mean(axis=(0, 1))).max() < 0.5
    assert np.abs(error[:, 12:36, 12:36].mean(axis=(0, 1, 2))).max() < 1.5
    return before, after


def patch_colours(frames):
    """(4, 3) mean colours of the flat patches of `colour_patches`."""
    quarter = frames.shape[2] // 4
    means = [
        frames[:, 8:36, k * quarter + 8 : (k + 1) * quarter - 8].mean(axis=(0, 1, 2))
        for k in range(4)
    ]
    return np.array(means)


@pytest.mark.parametrize("tags", ALL_TAGS)
def test_an_edit_keeps_colour_tags_and_colours(tmp_path, tags):
    source = write_pictures(tmp_path / "a.mp4", colour_patches(), tags=tags)
    before = read_frames(source)
    write_edit(source, before, tmp_path / "b.mp4")
    after = read_frames(tmp_path / "b.mp4")
    assert tags_in(tmp_path / "b.mp4") == tags_in(source) == tags
    assert abs((after.astype(int) - before).mean()) < 0.25
    assert np.abs(patch_colours(after) - patch_colours(before)).max() < 1
    check_untouched(source, tmp_path / "c.mp4")


@pytest.mark.parametrize(
    "name, codec, pixels, word",
    [
        ("a.mp4", "libx264", "yuv420p", ""),
        ("a.mp4", "libx264", "yuv422p", "4:2:0"),
        ("a.mp4", "libx264", "yuv444p", "4:2:0"),
        ("a.mp4", "libx264", "yuv420p10le", "10 bits"),
        ("a.mkv", "ffv1", "yuv422p10le", "10 bits"),
        ("a.mkv", "ffv1", "gray", ""),
        ("a.avi", "mjpeg", "yuvj420p", ""),
        ("a.mov", "png", "rgb24", "RGB"),
        ("a.mov", "png", "rgba", "transparency"),
        ("a.mkv", "ffv1", "yuva420p", "transparency"),
        ("a.mkv", "ffv1", "bgr0", "RGB"),
        ("a.mkv", "vp9", "yuv420p", ""),
        ("a.mpg", "mpeg2video", "yuv420p", ""),
    ],
)
def test_every_pixel_format_keeps_its_background_and_losses_are_said(
    tmp_path, name, codec, pixels, word
):
    codec = "libvpx-vp9" if codec == "vp9" else codec
    options = None if codec == "libx264" else {}
    source = write_pictures(
        tmp_path / name, colour_patches(), codec=codec, pixels=pixels, options=options
    )
    lines = []
    check_untouched(source, tmp_path / "b.mp4", lines.append)
    assert len(lines) == bool(word)
    assert not word or word in lines[0]


@pytest.mark.parametrize("height, width, matrix", [(576, 720, 6), (720, 1280, 1), (600, 800, 1)])
def test_size_decides_about_colours_without_tags(tmp_path, height, width, matrix):
    frames = colour_patches(2, height, width)
    kernels = colour.tags_by_size(width, height)
    assert kernels.matrix == matrix
    planes = colour.rgb_to_planes(frames[0], kernels)
    parts = [planes.brightness.ravel(), planes.blue.ravel(), planes.red.ravel()]
    rows = np.concatenate(parts).reshape(-1, width)
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "8"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rows, format="yuv420p")))
        container.mux(stream.encode(None))
    assert tags_in(tmp_path / "a.mp4")[0] == colour.UNSPECIFIED
    read = read_frames(tmp_path / "a.mp4")
    top = np.s_[:, 8 : height // 2 - 8]
    assert np.abs(patch_colours(read[top]) - patch_colours(frames[top])).max() < 1.5
    write_edit(tmp_path / "a.mp4", read, tmp_path / "b.mp4")
    assert tags_in(tmp_path / "b.mp4")[0] == matrix


@pytest.mark.parametrize("matrix", colour.WEIGHTS)
@pytest.mark.parametrize("full_range", [False, True])
def test_planes_become_the_nearest_colours_and_back(matrix, full_range):
    tags = colour.ColourTags(matrix, full_range, 2, 2)
    red_weight, blue_weight = colour.WEIGHTS[matrix]
    green_weight = 1 - red_weight - blue_weight
    y, u, v = np.meshgrid(range(60, 200, 7), range(112, 144, 4), range(112, 144, 4), indexing="ij")
    y, u, v = (axis.ravel().astype(np.uint8) for axis in (y, u, v))
    planes = colour.Planes(
        np.repeat(np.repeat(y[None], 2, 0), 2, 1), u[None].copy(), v[None].copy(), tags
    )
    # One colour a 2 x 2 block: its left column is at a colour sample.
    image = colour.planes_to_rgb(planes)[:, ::2]

    black, steps, color_steps = (0, 255, 255) if full_range else (16, 219, 224)
    light = (y.astype(float) - black) / steps
    red = light + 2 * (1 - red_weight) * (v.astype(float) - 128) / color_steps
    blue = light + 2 * (1 - blue_weight) * (u.astype(float) - 128) / color_steps
    green = (light - red_weight * red - blue_weight * blue) / green_weight
    exact = np.clip(np.stack([red, green, blue], -1), 0, 1) * 255
    assert np.abs(image - exact).max() < 0.52

    flat = np.repeat(np.repeat(image[:1], 4, 0), 4, 1)
    back = colour.rgb_to_planes(flat, tags)
    assert np.abs(back.brightness[0, ::4].astype(int) - y).max() <= 1
    assert abs((back.brightness[0, ::4].astype(int) - y).mean()) < 0.1


def test_a_written_video_is_as_bright_as_its_frames(tmp_path):
    frames = colour_patches(5)
    write_video(tmp_path / "a.mp4", frames, 25)
    read = read_frames(tmp_path / "a.mp4")
    assert abs((read.astype(int) - frames).mean()) < 0.25
    assert np.abs(patch_colours(read) - patch_colours(frames)).max() < 1.5


def interlaced(path, num_frames=12):
    """A bar that moves between the two fields of every frame."""
    frames = []
    for k in range(num_frames):
        frame = np.full((96, 128, 3), 40, np.uint8)
        frame[0::2, 8 * k : 8 * k + 30] = 220
        frame[1::2, 8 * k + 4 : 8 * k + 34] = 220
        frames.append(frame)
    options = {"flags": "+ildct+ilme", "x264-params": "tff=1", "crf": "10"}
    return write_pictures(path, np.stack(frames), options=options)


def combing(frames):
    """How much rows differ from their neighbours of the other field, more than from their own."""
    rows = frames.astype(float).mean(axis=3)
    between = np.abs(np.diff(rows, axis=1)).mean()
    within = np.abs(rows[:, 2:] - rows[:, :-2]).mean()
    return between - within


def test_fields_become_whole_pictures_and_it_is_said(tmp_path):
    source = interlaced(tmp_path / "a.mp4")
    frames = read_frames(source)
    assert len(frames) == 12
    assert combing(frames) < 5
    lines = []
    write_edit(source, frames, tmp_path / "b.mp4", say=lines.append)
    assert "interlaced" in lines[0]
    with av.open(str(tmp_path / "b.mp4")) as container:
        assert not any(frame.interlaced_frame for frame in container.decode(video=0))
    after = read_frames(tmp_path / "b.mp4")
    assert abs((after.astype(int) - frames).mean()) < 0.25


def test_high_dynamic_range_is_said(tmp_path):
    source = write_pictures(
        tmp_path / "a.mp4", colour_patches(), pixels="yuv420p10le", tags=(9, 1, 9, 16)
    )
    lines = []
    check_untouched(source, tmp_path / "b.mp4", lines.append)
    assert "HDR" in lines[0] and "PQ" in lines[0] and "8" in lines[0]
    assert tags_in(tmp_path / "b.mp4") == (9, 1, 9, 16)


def display_matrix(across, across_by_rows, down_by_columns, down):
    """Shown x = across * x + across_by_rows * y, shown y = down_by_columns * x + down * y."""
    numbers = [across, down_by_columns, 0, across_by_rows, down, 0, 0, 0, 0]
    fixed = [round(number * TURN_UNIT) for number in numbers]
    fixed[8] = MATRIX_END
    return fixed


TURNS = [
    ((a, 0, 0, b) if straight else (0, a, b, 0))
    for straight in (True, False)
    for a in (1, -1)
    for b in (1, -1)
]


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("aspect", [None, Fraction(5, 4)])
def test_every_turn_and_mirror_is_shown_as_its_matrix_says_and_edited_so(tmp_path, turn, aspect):
    stored = colour_patches()
    source = write_pictures(tmp_path / "a.mp4", stored, matrix=display_matrix(*turn), aspect=aspect)
    plain = read_frames(write_pictures(tmp_path / "b.mp4", stored, aspect=aspect))
    assert plain.shape[2] == (160 if aspect else 128)
    shown = read_frames(source)
    across, across_by_rows, down_by_columns, down = turn
    wanted = plain if across else plain.swapaxes(1, 2)
    if down + down_by_columns < 0:
        wanted = wanted[:, ::-1]
    if across + across_by_rows < 0:
        wanted = wanted[:, :, ::-1]
    assert shown.shape == wanted.shape
    difference = np.abs(shown.astype(int) - wanted)
    assert difference.mean() < 3  # colour samples lie between other pixels
    facts = video_facts(source)
    assert (facts.height, facts.width) == shown.shape[1:3]
    check_untouched(source, tmp_path / "c.mp4")


@pytest.mark.parametrize("degrees", [10, 45, 200])
def test_any_other_matrix_turns_the_picture_inside_black(tmp_path, degrees):
    angle = np.deg2rad(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    frames = np.full((3, 96, 128, 3), 30, np.uint8)
    frames[:, 20:28, 90:98] = 230  # a mark, 30 px right of and 24 px above the middle
    source = write_pictures(
        tmp_path / "a.mp4", frames, matrix=display_matrix(cosine, -sine, sine, cosine)
    )
    shown = read_frames(source)
    height, width = shown.shape[1:3]
    assert width == pytest.approx(128 * abs(cosine) + 96 * abs(sine), abs=1)
    rows, columns = np.nonzero(shown[0].mean(axis=2) > 130)
    assert columns.mean() + 0.5 - width / 2 == pytest.approx(30 * cosine + 24 * sine, abs=1)
    assert rows.mean() + 0.5 - height / 2 == pytest.approx(30 * sine - 24 * cosine, abs=1)
    write_edit(source, shown, tmp_path / "b.mp4")
    after = read_frames(tmp_path / "b.mp4")[:, :height, :width]
    assert abs((after.astype(int) - shown).mean()) < 0.25


def test_the_containers_aspect_counts_where_the_codec_states_none(tmp_path):
    source = write_pictures(tmp_path / "a.mp4", colour_patches(4, 96, 128))
    with av.open(str(source)) as reader, av.open(str(tmp_path / "b.mp4"), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        stream.sample_aspect_ratio = Fraction(4, 3)
        for packet in reader.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                writer.mux(packet)
    facts = video_facts(tmp_path / "b.mp4")
    assert (facts.width, facts.height) == (170, 96)


def test_pictures_of_another_size_are_shown_in_that_of_the_first(tmp_path):
    first = write_pictures(tmp_path / "a.ts", colour_patches(25))
    second = write_pictures(tmp_path / "b.ts", colour_patches(25, 48, 64))
    joined = tmp_path / "c.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    frames = read_frames(joined)
    assert frames.shape == (50, 96, 128, 3)
    assert np.abs(patch_colours(frames[-4:]) - patch_colours(frames[:4])).max() < 3
    lines = []
    write_edit(joined, frames, tmp_path / "d.mp4", say=lines.append)
    assert "other sizes" in lines[0] and "clock" in lines[0]
    assert read_frames(tmp_path / "d.mp4").shape == frames.shape
