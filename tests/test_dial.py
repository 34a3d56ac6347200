"""The dial without a browser: its fields against the exact edit, its readings, its messages."""

import base64
import io
import json
import re
import shutil
import sys
from dataclasses import replace
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import tiny_dial, tiny_run

from cdrl.cli.main import main
from cdrl.core.errors import InputError
from cdrl.core.files import read_json, write_json
from cdrl.core.settings import CorpusConfig, stage_folder
from cdrl.core.stage import run_stage
from cdrl.corpora.batches import image_tensor
from cdrl.corpora.samples import sample_paths
from cdrl.editing.control import emotion_weights, read_reference, read_text
from cdrl.editing.pipeline import edit_clip
from cdrl.media import faces
from cdrl.media.audio import AUDIO_RATE
from cdrl.media.video import read_video
from cdrl.models.image_editor import ImageEditor
from cdrl.report import dial
from cdrl.report.dial import page, payload, show, source_clip
from cdrl.report.dial.choices import PICTURE_SIDE, TEXTS, reference_choice, text_choice
from cdrl.report.dial.low_rank import edit_with_fields, fields_at
from cdrl.report.dial.session import UNFITTED, UNSEEN
from cdrl.report.dial.source_clip import COLUMNS, SIDE, shortened
from cdrl.studio import corpus as studio
from cdrl.studio.acting import act


def sample(name):
    """The committed real clip of an emotion, by its code in the file's name."""
    return next(path for path in sample_paths() if name in path.name)


NEUTRAL = sample("NEU")
HAPPY = sample("HAP")
FRAMES = 30
COMPONENT_LENGTH = 3328  # bytes: three fields of 32 x 32 cells and one of 16 x 16


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_dial(tmp_path_factory.mktemp("dial") / "run")


@pytest.fixture(scope="module")
def session(run):
    return dial.Session(run, NEUTRAL)


@pytest.fixture(scope="module")
def clip(session):
    return shortened(session.clip(0), FRAMES / 25)


@pytest.fixture(scope="module")
def action_session(run):
    """The same clip, edited by facial actions."""
    return dial.Session(run, NEUTRAL, generator="action_renderer")


@pytest.fixture(scope="module")
def released_run(run, tmp_path_factory):
    """The same run, made with the crops of the CDRL release."""
    released = tmp_path_factory.mktemp("released") / "released"
    shutil.copytree(run, released)
    run_stage(CorpusConfig(crop="released"), released, lambda out: {})
    card_file = stage_folder(released, "generator") / "cdrl" / "model.json"
    write_json(card_file, read_json(card_file) | {"crop": "released"})
    return released


def even(intensity):
    return np.full(FRAMES, intensity, np.float32)


RISING = np.linspace(0, 1.5, FRAMES, dtype=np.float32)
CURVES = [even(0.2), even(0.45), even(0.58), even(0.9), even(1.5), RISING]


def mean_difference(first, second):
    """Mean absolute difference of two arrays of pixels, levels of 255."""
    return np.abs(np.asarray(first, float) - np.asarray(second, float)).mean()


def test_fields_are_linear_below_level_1_and_above_level_3_and_nonlinear_between(session, clip):
    frames = image_tensor(clip.crops)[None]
    weights = emotion_weights("happy", session.emotions)

    def flow(intensity):
        curve = torch.from_numpy(even(intensity))[None]
        with torch.no_grad():
            return session.generator.fields(frames, weights, curve)[0]

    assert torch.allclose(flow(0.2), 0.6 * flow(1 / 3), atol=1e-6)
    assert torch.allclose(flow(1.5), 1.5 * flow(1.0), atol=1e-6)
    middle = (flow(1 / 3) + flow(1.0)) / 2
    assert (flow(2 / 3) - middle).abs().max() > 1e-4, "two knots would do"


@pytest.mark.parametrize("emotion", ["happy", "sad"])
def test_the_dial_s_edit_is_the_exact_one_within_a_quarter_of_a_level(session, clip, emotion):
    fields = session.fields(clip, {emotion: 1.0})
    other_fields = session.fields(clip, {"surprised": 1.0})
    for curve in CURVES:
        exact = edit_clip(session.generator, clip.crops, emotion, curve)
        error = mean_difference(edit_with_fields(fields, clip.crops, curve), exact)
        other_error = mean_difference(edit_with_fields(other_fields, clip.crops, curve), exact)
        change = mean_difference(exact, clip.crops)
        print(
            f"{emotion} {curve[0]:.2f} to {curve[-1]:.2f}: error {error:.3f} of 255, "
            f"the edit changes {change:.2f}"
        )
        assert error < 0.25
        assert error < 0.06 * change
        assert error < 0.2 * other_error


def test_an_edit_by_facial_actions_is_the_exact_one_within_a_quarter_of_a_level(
    action_session, clip
):
    """Its fields are nonlinear everywhere: faint, strong and rising edits are the hard ones."""
    fields = action_session.fields(clip, {"surprised": 1.0})
    assert (fields.fine, fields.coarse) == (64, 16)
    assert len(fields.knots) == 9
    for curve in (even(0.1), even(0.45), even(1.1), RISING):
        exact = edit_clip(action_session.generator, clip.crops, "surprised", curve)
        error = mean_difference(edit_with_fields(fields, clip.crops, curve), exact)
        change = mean_difference(exact, clip.crops)
        print(
            f"actions, surprised {curve[0]:.2f} to {curve[-1]:.2f}: error {error:.3f} of 255, "
            f"the edit changes {change:.2f}"
        )
        assert error < 0.25
        assert error < 0.1 * change


def test_facial_actions_edit_the_run_s_clips_and_the_run_s_guidance_reads_them(
    action_session, session, clip
):
    assert action_session.clip_names == session.clip_names
    assert action_session.clip(0).note == UNSEEN
    assert session.clip(0).note == UNFITTED
    before = action_session.readings(clip, {"happy": 1.0}, even(0))
    after = action_session.readings(clip, {"happy": 1.0}, even(1))
    happy = action_session.emotions.index("happy")
    assert before["change"] == 0
    assert after["emotion"][happy] > before["emotion"][happy] + 0.1
    assert after["content"] < 0.5
    by_image = session.readings(clip, {"happy": 1.0}, even(1))
    assert after["change"] != pytest.approx(by_image["change"], abs=0.05)


def test_a_generator_of_other_crops_than_the_run_s_is_refused(released_run):
    with pytest.raises(InputError) as refusal:
        dial.Session(released_run, NEUTRAL, generator="action_renderer")
    line = str(refusal.value)
    assert line.startswith("action_renderer: edits aligned crops")
    assert "was made with corpus.crop=released; leave it out" in line


@pytest.mark.parametrize("fixture", ["session", "action_session"])
def test_intensity_0_is_the_source_to_the_bit_also_inside_a_curve(fixture, clip, request):
    session = request.getfixturevalue(fixture)
    fields = session.fields(clip, {"happy": 1.0})
    curve = even(1.0)
    curve[10] = 0
    assert np.array_equal(edit_with_fields(fields, clip.crops, even(0)), clip.crops)
    assert np.array_equal(edit_with_fields(fields, clip.crops, curve)[10], clip.crops[10])
    for field in fields_at(fields, curve):
        assert not field[10].any()
        assert field[11].any()


def test_a_mixture_has_fields_of_its_own(session, clip):
    mixture = {"happy": 0.7, "surprised": 0.3}
    exact = edit_clip(session.generator, clip.crops, mixture, 1.0)
    edited = edit_with_fields(session.fields(clip, mixture), clip.crops, even(1))
    assert mean_difference(edited, exact) < 0.25


def test_readings_are_the_guidance_s_own(session, clip):
    before = session.readings(clip, {"happy": 1.0}, even(0))
    after = session.readings(clip, {"happy": 1.0}, even(1))
    assert before["content"] == pytest.approx(0, abs=1e-5)
    assert before["change"] == 0
    assert sum(after["emotion"]) == pytest.approx(1, abs=1e-5)
    happy = session.emotions.index("happy")
    assert after["emotion"][happy] > before["emotion"][happy] + 0.1, (
        "the generator does what it was trained for"
    )

    edited = edit_with_fields(session.fields(clip, {"happy": 1.0}), clip.crops, even(1))
    source = image_tensor(clip.crops)[None]
    output = image_tensor(edited)[None]
    box = torch.tensor(clip.mouth_box)[None]
    with torch.no_grad():
        expected = float(session.guidance.content(source, output, boxes=box))
    assert 0 < expected < 0.5
    assert after["content"] == pytest.approx(expected, abs=1e-5)
    assert after["change"] == pytest.approx(mean_difference(edited, clip.crops), abs=1e-4)


def test_emotion_and_content_read_together_are_those_read_alone(session, clip):
    images = image_tensor(clip.crops[:6])[None]
    box = torch.tensor(clip.mouth_box)[None]
    with torch.no_grad():
        emotion, content = session.guidance.embeddings(images, box)
        assert torch.equal(emotion, session.guidance.emotion_embedding(images, box))
        assert torch.equal(content, session.guidance.content_embedding(images, box))


def test_the_frames_that_are_shown_are_those_of_the_whole_edit(session, clip):
    fields = session.fields(clip, {"happy": 1.0})
    whole = edit_with_fields(fields, clip.crops, RISING)
    assert np.array_equal(edit_with_fields(fields, clip.crops, RISING, slice(4, 6)), whole[4:6])


def test_a_clip_under_five_frames_has_no_content_reading(session, clip):
    short = replace(clip, crops=clip.crops[:4])
    assert session.readings(short, {"happy": 1.0}, even(1)[:4])["content"] is None


def test_a_text_is_read_as_cdrl_edit_reads_it(session):
    for text in TEXTS:
        choice = text_choice(session, text)
        assert choice.mixture == read_text(session.guidance, text, session.emotions)
        assert choice.key == f"text: {text}"
        assert len(choice.mixture) > 1, "an example that a label would not do for"


def test_a_reference_is_read_as_cdrl_edit_reads_it_and_has_a_picture(session):
    position = session.reference_names.index(HAPPY.stem)
    reference = session.reference(position)
    choice = reference_choice(session, reference)
    expected = read_reference(session.guidance, HAPPY, session.emotions)[0]
    assert expected["happy"] > 0.5
    assert choice.mixture.get("happy", 0) == pytest.approx(expected["happy"], abs=0.1)

    encoded = choice.picture.split(",")[1]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    assert picture.shape == (PICTURE_SIDE, PICTURE_SIDE, 3)
    middle = Image.fromarray(reference.crops[len(reference.crops) // 2])
    expected_picture = middle.resize((PICTURE_SIDE, PICTURE_SIDE))
    assert mean_difference(picture, expected_picture) < 8, "its middle frame"


def test_unknown_words_and_an_unreadable_reference_are_refused_in_a_line(session):
    with pytest.raises(InputError, match="'furious brows': .* never learnt furious") as refusal:
        text_choice(session, "furious brows")
    assert "it knows and, brows, " in str(refusal.value)
    assert text_choice(session, "happy").mixture == {"happy": 1.0}, "a label is a text too"

    two_frames = replace(session.clip(0), name="short", crops=session.clip(0).crops[:2])
    with pytest.raises(InputError, match="short: .*at least 3"):
        reference_choice(session, two_frames)


@pytest.fixture
def one_emotion(monkeypatch):
    """Pages offer the label happy alone, so that they are written quickly."""
    monkeypatch.setattr(payload, "EMOTION_ORDER", ("happy",))


def test_a_page_offers_the_texts_and_references_of_the_command(
    run, tmp_path, one_emotion, monkeypatch
):
    monkeypatch.setattr(page, "READING_INTENSITIES", (0.0, 1.0))
    monkeypatch.setattr("cdrl.cli.dial.WORKERS", 1)
    out = tmp_path / "turn.html"
    text = "inner brows raised, jaw open"
    command = ["dial", str(run), "--clip", str(NEUTRAL), "--out", str(out)]
    assert main([*command, "--text", text, "--reference", str(HAPPY)]) == 0

    header, block = data_of(out.read_text())
    choices = [(choice["kind"], choice["name"]) for choice in header["choices"]]
    assert choices == [("label", "happy"), ("text", text), ("reference", HAPPY.stem)]
    fields_data = header["clip_data"][0]["fields"]
    assert set(fields_data) == {"happy", f"text: {text}", f"reference: {HAPPY.stem}"}

    mixture = header["choices"][1]["mixture"]
    session = dial.Session(run, NEUTRAL)
    offset, length = fields_data[f"text: {text}"]["block"]
    expected_fields = payload.fields_bytes(session.fields(session.clip(0), mixture))
    assert block[offset : offset + length] == expected_fields
    assert block[:length] != expected_fields
    ones = np.ones(len(session.clip(0).crops), np.float32)
    expected = session.readings(session.clip(0), mixture, ones)
    readings = fields_data[f"text: {text}"]["readings"]
    assert readings[1]["emotion"] == pytest.approx(expected["emotion"], abs=1e-3)


def test_a_text_or_reference_of_the_command_that_cannot_be_read_is_refused(run, tmp_path, capsys):
    command = ["dial", str(run), "--clip", str(NEUTRAL), "--out", str(tmp_path / "turn.html")]
    assert "never learnt furious" in refused(capsys, *command, "--text", "furious")
    line = refused(capsys, *command, "--reference", "gone.mp4")
    assert "gone.mp4: no such video file" in line


def test_a_sprite_sheet_carries_every_frame_in_order(clip):
    sheet = np.asarray(Image.open(io.BytesIO(clip.sprite_sheet())))
    side = clip.crops.shape[1]
    for frame in (0, 9, FRAMES - 1):
        row, column = divmod(frame, COLUMNS)
        top = row * side
        left = column * side
        cell = sheet[top : top + side, left : left + side].astype(float)
        difference = np.abs(cell - clip.crops).mean((1, 2, 3))
        assert difference.argmin() == frame
        assert difference[frame] < 4


def test_the_sound_is_sent_as_mp3_and_silence_as_nothing(clip):
    with av.open(io.BytesIO(clip.mp3())) as container:
        num_samples = sum(frame.samples for frame in container.decode(audio=0))
    assert num_samples / AUDIO_RATE == pytest.approx(FRAMES / 25, abs=0.15)
    assert max(clip.waveform()) == 1
    silent = replace(clip, sound=np.zeros(100, np.float32))
    assert silent.mp3() == b""
    assert silent.waveform() == []


@pytest.mark.parametrize("crop", ["aligned", "released"])
def test_a_video_file_is_cropped_as_the_run_s_clips(crop, run, released_run):
    session = dial.Session(released_run if crop == "released" else run, NEUTRAL, [NEUTRAL])
    frames = read_video(NEUTRAL).frames
    expected = faces.crop(frames, faces.align(frames, crop=crop), SIDE)
    assert session.guidance.crop == crop
    assert np.array_equal(session.clip(0).crops, expected)
    assert np.array_equal(session.reference(0).crops, expected)


@pytest.mark.parametrize("crop", ["aligned", "released"])
def test_a_studio_clip_is_rendered_again_and_cropped_as_the_run_s(crop, run, released_run):
    spec = studio.specs("smoke_report", people=2, sentences=2)[0]
    session = dial.Session(released_run if crop == "released" else run)
    session.store.clips.loc[0, "name"] = studio.name_of(spec)
    crops = session.studio_clip(0).crops
    assert session.generator.card.crop == crop
    frames = studio.render_performance(spec, act(spec), 256)[0]
    expected = faces.crop(frames, faces.align(frames, crop=crop), SIDE)
    assert np.array_equal(crops, expected)


def test_the_clips_are_the_run_s_and_the_samples_and_a_studio_clip_falls_back_to_the_store(run):
    session = dial.Session(run)
    samples = {path.stem for path in sample_paths()}
    assert session.clip_names[:2] == ["0_0_neutral", "0_0_angry"]
    assert samples <= set(session.clip_names)
    first = session.clip(0)
    assert first.crops.shape == (10, 64, 64, 3)
    assert first.note == "studio: nobody real; neutral, level 2"
    assert len(first.sound) == 6400


def data_of(text):
    """The header and the block of a page or of a notebook's output."""
    header = re.search(r"const header = (\{.*?\});\ndial\(", text, re.S).group(1)
    block = re.search(r'pageSource\(header, "(.*?)"\)', text).group(1)
    return json.loads(header), base64.b64decode(block)


def fields_length(shape):
    """Bytes of low-rank fields: scales, weights of every knot and frame, components."""
    rank = shape["rank"]
    weights = len(shape["knots"]) * shape["frames"] * rank
    return 4 * rank + 2 * weights + COMPONENT_LENGTH * rank


def test_the_page_is_one_file_without_any_request(run, tmp_path, capsys, one_emotion):
    out = tmp_path / "new" / "turn.html"
    assert main(["dial", str(run), "--clip", str(NEUTRAL), "--out", str(out)]) == 0
    assert "no network is needed" in capsys.readouterr().out
    text = out.read_text()
    addresses = r"""(?:src|href)=["'](?!data:)|https?://(?!www\.w3\.org/2000/svg)"""
    imports = r"""@import|\bimport\s*[("{]"""
    assert not re.findall(f"{addresses}|{imports}", text)

    header, block = data_of(text)
    [clip_data] = header["clip_data"]
    pieces = {tuple(clip_data["sprite_sheet"]), tuple(clip_data["sound"])}
    pieces |= {tuple(data["block"]) for data in clip_data["fields"].values()}
    assert sum(length for _, length in pieces) == len(block)
    assert min(pieces)[0] == 0

    happy = clip_data["fields"]["happy"]
    assert tuple(happy["knots"]) == ImageEditor.intensity_knots
    assert happy["block"][1] == fields_length(happy)
    assert len(happy["readings"]) == len(header["reading_intensities"])
    assert happy["readings"][0]["change"] == 0
    data = text[text.index("const header") : text.rindex("</script>")]
    assert "</script" not in data
    assert [path.name for path in out.parent.iterdir()] == ["turn.html"]


def test_without_a_browser_a_small_static_dial_is_shown(run):
    static = dial.dial(dial.Session(run, NEUTRAL))
    assert isinstance(static, page.StaticDial)
    assert static._repr_html_() == static.data
    assert len(static.data) < 1_000_000
    header, _ = data_of(static.data)
    assert header["emotions"] == ["happy", "surprised", "sad"]
    assert not header["live"]
    assert header["clip_data"][0]["frames"] == round(page.STATIC_SECONDS * 25)
    kinds = [choice["kind"] for choice in header["choices"]]
    assert kinds == ["label", "label", "label", "text", "reference"]
    assert static.data.index('<img alt="One frame') < static.data.index("<script>"), (
        "something to see where no script runs"
    )


def pretend_a_browser(monkeypatch):
    """As in a notebook whose kernel has a browser in front of it."""
    monkeypatch.delenv("CDRL_HEADLESS", raising=False)
    shell = SimpleNamespace(kernel=1)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


def test_without_anywidget_one_line_says_what_still_works(session, monkeypatch, capsys):
    pretend_a_browser(monkeypatch)
    monkeypatch.setattr(show, "static_dial", lambda session, texts: "the static dial")
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "cdrl.report.dial.widget", raising=False)
    assert dial.dial(session) == "the static dial"
    line = capsys.readouterr().out
    assert line.count("\n") == 1
    assert "pip install anywidget" in line
    assert "cdrl dial RUN writes a page" in line


@pytest.fixture
def widget(session, monkeypatch):
    from cdrl.report.dial.widget import Dial

    instance = Dial(session)
    instance.sent = []

    def keep(content, buffers=None):
        instance.sent.append((content, buffers))

    monkeypatch.setattr(instance, "send", keep)
    return instance


def test_the_widget_sends_clips_fields_and_readings(widget, session):
    clip = session.clip(0)
    mixture = {"happy": 1}
    curve = [0.5] * len(clip.crops)
    widget.answer(widget, {"key": "a", "what": "clip", "clip": 0})
    widget.answer(widget, {"key": "b", "what": "fields", "clip": 0, "mixture": mixture})
    request = {"key": "c", "what": "readings", "clip": 0, "mixture": mixture, "curve": curve}
    widget.answer(widget, request)

    facts, [sprite_sheet, sound] = widget.sent[0]
    assert facts["key"] == "a"
    assert facts["frames"] == len(clip.crops)
    assert sprite_sheet[8:12] == b"WEBP"
    assert sound
    shape, [fields] = widget.sent[1]
    assert len(fields) == fields_length(shape)
    readings, buffers = widget.sent[2]
    assert buffers is None
    assert readings.pop("key") == "c"
    assert readings == session.readings(clip, mixture, np.float32(curve))


def test_the_widget_carries_its_script_and_its_text_names_the_command(widget):
    assert widget.header["live"]
    assert "export default { render }" in widget.get_state()["_esm"]
    assert "cdrl dial RUN" in repr(widget)


def test_the_widget_reads_texts_and_references(widget, session):
    position = session.reference_names.index(HAPPY.stem)
    widget.answer(widget, {"key": "a", "what": "text", "clip": 0, "text": TEXTS[0]})
    widget.answer(widget, {"key": "b", "what": "reference", "clip": position})
    widget.answer(widget, {"key": "c", "what": "text", "clip": 0, "text": "furious"})
    (by_text, _), (by_reference, _), (fault, _) = widget.sent
    assert by_text["key"] == "a"
    assert by_text["mixture"] == read_text(session.guidance, TEXTS[0], session.emotions)
    assert by_reference["name"] == HAPPY.stem
    assert "happy" in by_reference["mixture"]
    assert by_reference["picture"].startswith("data:image/jpeg")
    assert "never learnt furious" in fault["fault"]
    assert "the rest still works" in fault["fault"]

    header = widget.header
    assert header["texts"] == list(TEXTS)
    assert "brows" in header["vocabulary"]
    assert header["references"][position] == HAPPY.stem


def test_what_the_widget_cannot_do_it_says_in_a_line(widget):
    widget.answer(widget, {"key": "k", "what": "fields", "clip": 0, "mixture": {"hapy": 1}})
    widget.answer(widget, {"key": "k", "what": "clip", "clip": 99})
    (first, _), (second, _) = widget.sent
    assert "unknown emotion 'hapy' (did you mean happy?)" in first["fault"]
    assert "choose another, the rest still works" in second["fault"]


def refused(capsys, *words):
    """The one line with which the command refuses its input."""
    capsys.readouterr()
    assert main(list(words)) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    return printed.err[6:-1]


def test_a_run_that_is_not_there_or_not_ready_is_refused_with_what_can_be_read(tmp_path, capsys):
    line = refused(capsys, "dial", str(tmp_path / "gone"))
    assert "no such run: name a folder, as in runs/demo" in line
    line = refused(capsys, "dial", str(tiny_run(tmp_path / "begun")))
    assert "has no generator yet (05_generator is not complete)" in line
    assert "what is done so far: cdrl scores" in line
    line = refused(capsys, "dial", str(tmp_path), "--out", "turn.png")
    assert "as in --out turn.html" in line


def test_a_run_of_another_version_is_refused_and_its_scores_are_named(tmp_path, capsys):
    old = tiny_dial(tmp_path / "old", made_by="0.0.7")
    line = refused(capsys, "dial", str(old))
    assert "was made by cdrl 0.0.7, this is 0." in line
    assert f"can still be read: cdrl scores {old}" in line


def test_a_clip_that_cannot_be_used_is_refused(run, tmp_path, capsys, monkeypatch):
    command = ["dial", str(run), "--clip"]
    assert "gone.mp4: no such video file" in refused(capsys, *command, "gone.mp4")
    broken = tmp_path / "text.mp4"
    broken.write_text("no video")
    assert "text.mp4" in refused(capsys, *command, str(broken))
    monkeypatch.setattr(source_clip, "LONGEST", 1.0)
    line = refused(capsys, *command, str(NEUTRAL))
    assert "2 seconds, the dial takes up to 1" in line
    assert "cdrl edit" in line
