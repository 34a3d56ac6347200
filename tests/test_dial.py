"""The dial without a browser: its fields against the exact edit, its readings, what it sends, what it says where it cannot."""

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
from cdrl.core.settings import CorpusConfig
from cdrl.core.stage import run_stage
from cdrl.corpora.samples import sample_paths
from cdrl.editing.control import read_reference, read_text
from cdrl.editing.pipeline import edit_clip, emotion_weights
from cdrl.media import faces
from cdrl.media.audio import AUDIO_RATE
from cdrl.media.video import read_video
from cdrl.report import dial
from cdrl.report.dial import page as show
from cdrl.report.dial import choices as asked
from cdrl.report.dial import session as session_module
from cdrl.report.dial.low_rank import KNOTS, edit_with_fields, fields_at
from cdrl.report.dial.choices import TEXTS
from cdrl.studio import corpus as studio
from cdrl.studio.acting import act

NEUTRAL, HAPPY = (
    next(path for path in sample_paths() if name in path.name) for name in ("NEU", "HAP")
)
FRAMES = 30


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_dial(tmp_path_factory.mktemp("dial") / "run")


@pytest.fixture(scope="module")
def desk(run):
    return dial.Session(run, NEUTRAL)


@pytest.fixture(scope="module")
def take(desk):
    return session_module.shortened(desk.take(0), FRAMES / 25)


def level(value):
    return np.full(FRAMES, value, np.float32)


CURVES = [
    level(0.2),
    level(0.45),
    level(0.58),
    level(0.9),
    level(1.5),
    np.linspace(0, 1.5, FRAMES, dtype=np.float32),
]


def test_the_fields_are_linear_below_level_1_and_above_level_3_and_bend_between(desk, take):
    frames, weights = session_module._tensor(take.crops), emotion_weights("happy", desk.generator)

    def flow(value):
        with torch.no_grad():
            return desk.generator.fields(frames, weights, torch.from_numpy(level(value))[None])[0]

    assert torch.allclose(flow(0.2), 0.6 * flow(1 / 3), atol=1e-6) and torch.allclose(
        flow(1.5), 1.5 * flow(1.0), atol=1e-6
    )
    between = (flow(2 / 3) - (flow(1 / 3) + flow(1.0)) / 2).abs().max()
    assert between > 1e-4, "two knots would do"


@pytest.fixture(scope="module")
def acted(run):
    """The same clip, edited by facial actions."""
    return dial.Session(run, NEUTRAL, generator="action_renderer")


@pytest.mark.parametrize("emotion", ["happy", "sad"])
def test_the_dial_s_edit_is_the_exact_one_within_a_quarter_of_a_level(desk, take, emotion):
    bank, other = desk.bank(take, {emotion: 1.0}), desk.bank(take, {"surprised": 1.0})
    for curve in CURVES:
        exact = edit_clip(desk.generator, take.crops, emotion, curve).astype(float)
        error = np.abs(edit_with_fields(bank, take.crops, curve) - exact).mean()
        moved, wrong = (
            np.abs(exact - take.crops).mean(),
            np.abs(edit_with_fields(other, take.crops, curve) - exact).mean(),
        )
        print(
            f"{emotion} {curve[0]:.2f} to {curve[-1]:.2f}: off by {error:.3f} of 255, the edit changes {moved:.2f}"
        )
        assert error < 0.25 and error < 0.06 * moved and error < 0.2 * wrong


def test_an_edit_by_facial_actions_is_the_exact_one_within_a_quarter_of_a_level(acted, take):
    """Its fields bend everywhere: the faintest and the strongest edits and a curve that rises are the hard ones."""
    bank = acted.bank(take, {"surprised": 1.0})
    assert (bank.fine, bank.coarse) == (64, 16) and len(bank.knots) == 9
    for curve in (level(0.1), level(0.45), level(1.1), CURVES[-1]):
        exact = edit_clip(acted.generator, take.crops, "surprised", curve).astype(float)
        error, moved = (
            np.abs(edit_with_fields(bank, take.crops, curve) - exact).mean(),
            np.abs(exact - take.crops).mean(),
        )
        print(
            f"actions, surprised {curve[0]:.2f} to {curve[-1]:.2f}: off by {error:.3f} of 255, the edit changes {moved:.2f}"
        )
        assert error < 0.25 and error < 0.1 * moved


def test_the_edit_by_facial_actions_is_turned_on_the_run_s_clips_and_read_by_its_guidance(
    acted, desk, take, run, tmp_path
):
    assert (
        acted.names == desk.names
        and acted.take(0).note == session_module.UNSEEN
        and desk.take(0).note == session_module.UNFITTED
    )
    still, turned = (acted.read(take, {"happy": 1.0}, level(value)) for value in (0, 1))
    happy = acted.emotions.index("happy")
    assert (
        still["change"] == 0
        and turned["emotion"][happy] > still["emotion"][happy] + 0.1
        and turned["content"] < 0.5
    )
    assert turned["change"] != pytest.approx(
        desk.read(take, {"happy": 1.0}, level(1))["change"], abs=0.05
    )
    released = shutil.copytree(run, tmp_path / "released")
    run_stage(CorpusConfig(crop="released"), released, lambda out: {})
    with pytest.raises(
        InputError,
        match="action_renderer: edits aligned crops, .*released was made with corpus.crop=released; leave it out",
    ):
        dial.Session(released, NEUTRAL, generator="action_renderer")


@pytest.mark.parametrize("whose", ["desk", "acted"])
def test_intensity_0_is_the_source_to_the_bit_also_inside_a_curve(whose, take, request):
    desk, curve = request.getfixturevalue(whose), level(1.0)
    bank, curve[10] = desk.bank(take, {"happy": 1.0}), 0
    assert np.array_equal(edit_with_fields(bank, take.crops, level(0)), take.crops)
    assert np.array_equal(edit_with_fields(bank, take.crops, curve)[10], take.crops[10])
    assert all(not field[10].any() and field[11].any() for field in fields_at(bank, curve))


def test_a_mixture_has_fields_of_its_own(desk, take):
    mixture = {"happy": 0.7, "surprised": 0.3}
    exact = edit_clip(desk.generator, take.crops, mixture, 1.0).astype(float)
    assert (
        np.abs(edit_with_fields(desk.bank(take, mixture), take.crops, level(1)) - exact).mean()
        < 0.25
    )


def test_readings_are_the_guidance_s_own(desk, take):
    still, turned = (desk.read(take, {"happy": 1.0}, level(value)) for value in (0, 1))
    assert still["content"] == pytest.approx(0, abs=1e-5) and still["change"] == 0
    assert sum(turned["emotion"]) == pytest.approx(1, abs=1e-5)
    happy = desk.emotions.index("happy")
    assert turned["emotion"][happy] > still["emotion"][happy] + 0.1, (
        "the generator does what it was trained for"
    )
    edited = edit_with_fields(desk.bank(take, {"happy": 1.0}), take.crops, level(1))
    with torch.no_grad():
        source, output = (session_module._tensor(crops) for crops in (take.crops, edited))
        expected = float(desk.guidance.content(source, output, torch.tensor(take.box)[None]))
    assert turned["content"] == pytest.approx(expected, abs=1e-5) and 0 < expected < 0.5
    assert turned["change"] == pytest.approx(
        np.abs(edited.astype(float) - take.crops).mean(), abs=1e-4
    )
    short = replace(take, crops=take.crops[:4])
    assert desk.read(short, {"happy": 1.0}, level(1)[:4])["content"] is None


def test_words_and_a_reference_are_read_as_cdrl_edit_reads_them(desk):
    for text in TEXTS:
        choice = asked.in_words(desk, text)
        assert (
            choice.mixture == read_text(desk.guidance, text, desk.emotions)
            and choice.key == f"words: {text}"
        )
        assert len(choice.mixture) > 1, "an example that a label would not do for"
    position = desk.references.index(HAPPY.stem)
    choice, expected = (
        asked.as_in(desk, desk.reference(position)),
        read_reference(desk.guidance, HAPPY, desk.emotions)[0],
    )
    assert (
        choice.mixture.get("happy", 0) == pytest.approx(expected["happy"], abs=0.1)
        and expected["happy"] > 0.5
    )
    picture = np.asarray(
        Image.open(io.BytesIO(base64.b64decode(choice.still.split(",")[1])))
    ).astype(float)
    shown = np.asarray(
        Image.fromarray(
            desk.reference(position).crops[len(desk.reference(position).crops) // 2]
        ).resize(picture.shape[:2])
    )
    assert picture.shape == (asked.STILL, asked.STILL, 3) and np.abs(picture - shown).mean() < 8, (
        "its middle frame"
    )


def test_unknown_words_and_an_unreadable_reference_are_told_in_a_line(desk):
    with pytest.raises(
        InputError,
        match="'furious brows': the language prior never learnt furious; it knows and, brows, ",
    ):
        asked.in_words(desk, "furious brows")
    assert asked.in_words(desk, "happy").mixture == {"happy": 1.0}, "a label is a text too"
    with pytest.raises(InputError, match="short: .*at least 3"):
        asked.as_in(desk, replace(desk.take(0), name="short", crops=desk.take(0).crops[:2]))


def test_a_page_offers_the_texts_and_references_that_are_asked_for(
    run, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(show, "SHOWN_FIRST", ("happy",))
    monkeypatch.setattr(show, "READ_AT", (0.0, 1.0))
    out, text = tmp_path / "turn.html", "inner brows raised, jaw open"
    words = (
        "dial",
        str(run),
        "--clip",
        str(NEUTRAL),
        "--text",
        text,
        "--reference",
        str(HAPPY),
        "--out",
        str(out),
    )
    assert main([*words]) == 0
    header, block = pieces(out.read_text())
    assert [(each["kind"], each["name"]) for each in header["choices"]] == [
        ("label", "happy"),
        ("words", text),
        ("clip", HAPPY.stem),
    ]
    banks = header["takes"][0]["banks"]
    assert set(banks) == {"happy", f"words: {text}", f"clip: {HAPPY.stem}"}
    [mixture] = [each["mixture"] for each in header["choices"] if each["kind"] == "words"]
    desk = dial.Session(run, NEUTRAL)
    low, length = banks[f"words: {text}"]["where"]
    assert (
        block[low : low + length]
        == show.bank_bytes(desk.bank(desk.take(0), mixture))
        != block[:length]
    )
    readings = banks[f"words: {text}"]["readings"]
    expected = desk.read(desk.take(0), mixture, np.ones(len(desk.take(0).crops), np.float32))
    assert readings[1]["emotion"] == pytest.approx(expected["emotion"], abs=1e-3)
    capsys.readouterr()
    assert "never learnt furious" in refused(
        capsys, *words[:4], "--text", "furious", "--out", str(out)
    )
    assert "gone.mp4: no such video file" in refused(
        capsys, *words[:4], "--reference", "gone.mp4", "--out", str(out)
    )


def test_a_sheet_carries_every_frame_in_its_place_and_the_sound_is_heard(take):
    sheet = np.asarray(Image.open(io.BytesIO(take.sheet())))
    side, columns = take.crops.shape[1], show.COLUMNS
    for k in (0, 9, FRAMES - 1):
        row, column = divmod(k, columns)
        shown = sheet[row * side : (row + 1) * side, column * side : (column + 1) * side].astype(
            float
        )
        off = np.abs(shown - take.crops).mean((1, 2, 3))
        assert off.argmin() == k and off[k] < 4
    with av.open(io.BytesIO(take.heard())) as container:
        heard = sum(frame.samples for frame in container.decode(audio=0)) / AUDIO_RATE
    assert heard == pytest.approx(FRAMES / 25, abs=0.15)
    silent = replace(take, sound=np.zeros(100, np.float32))
    assert silent.heard() == b"" and silent.loudness() == [] and max(take.loudness()) == 1


def test_a_run_of_released_crops_is_turned_on_released_crops(run, tmp_path):
    released = shutil.copytree(run, tmp_path / "released")
    run_stage(CorpusConfig(crop="released"), released, lambda out: {})
    frames = read_video(NEUTRAL).frames
    for where, crop in ((run, "aligned"), (released, "released")):
        desk = dial.Session(where, NEUTRAL, [NEUTRAL])
        expected = faces.crop(frames, faces.align(frames, crop=crop), session_module.SIDE)
        assert desk.guidance.crop == crop and np.array_equal(desk.take(0).crops, expected)
        assert np.array_equal(desk.reference(0).crops, expected)


def test_a_studio_clip_is_rendered_again_and_cropped_as_the_run_s(run, tmp_path):
    released = shutil.copytree(run, tmp_path / "released")
    run_stage(CorpusConfig(crop="released"), released, lambda out: {})
    name = studio.name_of(studio.specs("smoke_report", people=2, sentences=2)[0])
    taken = {}
    for where in (run, released):
        desk = dial.Session(where)
        desk.store.clips.loc[0, "name"] = name
        taken[desk.generator.crop] = desk._of_store(0)
    frames = studio.render_performance(studio.spec_of(name), act(studio.spec_of(name)), 256)[0]
    for crop, take in taken.items():
        assert np.array_equal(
            take.crops, faces.crop(frames, faces.align(frames, crop=crop), session_module.SIDE)
        )


def test_the_clips_are_the_run_s_and_the_samples_and_a_studio_clip_falls_back_to_the_store(run):
    desk = dial.Session(run)
    assert desk.names[:2] == ["0_0_neutral", "0_0_angry"] and {
        path.stem for path in sample_paths()
    } <= set(desk.names)
    first = desk.take(0)
    assert (
        first.crops.shape == (10, 64, 64, 3)
        and first.note == "studio: nobody real; neutral, level 2"
        and len(first.sound) == 6400
    )


def pieces(text):
    """(header, block) of a page's or an output's data."""
    header = json.loads(re.search(r"const header = (\{.*?\});\ndial\(", text, re.S).group(1))
    return header, base64.b64decode(re.search(r'held\(header, "(.*?)"\)', text).group(1))


def test_the_page_is_one_file_that_asks_for_nothing(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(show, "SHOWN_FIRST", ("happy",))
    out = tmp_path / "new" / "turn.html"
    assert main(["dial", str(run), "--clip", str(NEUTRAL), "--out", str(out)]) == 0
    assert "no network is needed" in capsys.readouterr().out
    page = out.read_text()
    assert not re.findall(
        r"""(?:src|href)=["'](?!data:)|https?://(?!www\.w3\.org/2000/svg)|@import|\bimport\s*[("{]""",
        page,
    )
    header, block = pieces(page)
    [held] = header["takes"]
    places = {
        tuple(place)
        for place in (
            held["sheet"],
            held["sound"],
            *(bank["where"] for bank in held["banks"].values()),
        )
    }
    assert (
        sum(length for _, length in places) == len(block)
        and [low for low, _ in sorted(places)][0] == 0
    )
    bank = held["banks"]["happy"]
    assert (
        bank["where"][1]
        == 4 * bank["rank"] + len(KNOTS) * bank["frames"] * bank["rank"] * 2 + bank["rank"] * 3328
    )
    assert len(bank["readings"]) == len(header["read_at"]) and bank["readings"][0]["change"] == 0
    assert "</script" not in page[page.index("const header") : page.rindex("</script>")]
    assert [path.name for path in out.parent.iterdir()] == ["turn.html"]


def test_where_nobody_watches_a_small_twin_takes_its_place(run):
    twin = dial.dial(dial.Session(run, NEUTRAL))
    assert (
        isinstance(twin, show.Twin)
        and twin._repr_html_() == twin.data
        and len(twin.data) < 1_000_000
    )
    header, _ = pieces(twin.data)
    assert header["emotions"] == ["happy", "angry", "sad"] and not header["live"]
    assert header["takes"][0]["frames"] == round(show.STATIC_SECONDS * 25)
    assert [choice["kind"] for choice in header["choices"]] == ["label"] * 3 + ["words", "clip"]
    assert twin.data.index('<img alt="One frame') < twin.data.index("<script>"), (
        "something to see where no script runs"
    )


def watched(monkeypatch):
    """As in a notebook whose kernel has somebody in front of it."""
    monkeypatch.delenv("CDRL_HEADLESS", raising=False)
    monkeypatch.setitem(
        sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: SimpleNamespace(kernel=1))
    )


def test_without_anywidget_one_line_says_what_still_works(desk, monkeypatch, capsys):
    watched(monkeypatch)
    monkeypatch.setattr(show, "static_twin", lambda desk, texts: "the twin")
    monkeypatch.setitem(sys.modules, "anywidget", None)
    monkeypatch.delitem(sys.modules, "cdrl.report.dial.widget", raising=False)
    assert dial.dial(desk) == "the twin"
    line = capsys.readouterr().out
    assert (
        line.count("\n") == 1
        and "pip install anywidget. Fewer clips without a kernel instead, cdrl dial RUN writes a page"
        in line
    )


@pytest.fixture
def widget(desk, monkeypatch):
    from cdrl.report.dial.widget import Dial

    made = Dial(desk)
    made.sent = []
    monkeypatch.setattr(
        made, "send", lambda content, buffers=None: made.sent.append((content, buffers))
    )
    return made


def test_the_widget_sends_clips_fields_and_readings(widget, desk):
    take = desk.take(0)
    mixture, curve = {"happy": 1}, [0.5] * len(take.crops)
    for what, more in (
        ("take", {}),
        ("bank", {"mixture": mixture}),
        ("read", {"mixture": mixture, "curve": curve}),
    ):
        widget.answer(widget, {"key": what, "what": what, "clip": 0, **more})
    (told, [sheet, sound]), (shape, [fields]), (readings, nothing) = widget.sent
    assert (
        told["frames"] == len(take.crops) and sheet[8:12] == b"WEBP" and sound and nothing is None
    )
    assert (
        len(fields)
        == 4 * shape["rank"]
        + len(shape["knots"]) * shape["frames"] * shape["rank"] * 2
        + shape["rank"] * 3328
    )
    assert {key: readings[key] for key in ("emotion", "content", "change")} == desk.read(
        take, mixture, np.float32(curve)
    )
    assert widget.header["live"] and "export default { render }" in widget.get_state()["_esm"]
    assert "cdrl dial RUN writes the same as one HTML page" in repr(widget)


def test_the_widget_reads_words_and_references_and_says_what_they_mean(widget, desk):
    position = desk.references.index(HAPPY.stem)
    widget.answer(widget, {"key": "a", "what": "words", "clip": 0, "text": TEXTS[0]})
    widget.answer(widget, {"key": "b", "what": "clip", "clip": position})
    widget.answer(widget, {"key": "c", "what": "words", "clip": 0, "text": "furious"})
    (words, _), (like, _), (fault, _) = widget.sent
    assert words["key"] == "a" and words["mixture"] == read_text(
        desk.guidance, TEXTS[0], desk.emotions
    )
    assert (
        like["name"] == HAPPY.stem
        and "happy" in like["mixture"]
        and like["still"].startswith("data:image/jpeg")
    )
    assert "never learnt furious" in fault["fault"] and "the rest still works" in fault["fault"]
    header = widget.header
    assert (
        header["texts"] == list(TEXTS)
        and "brows" in header["words"]
        and header["references"][position] == HAPPY.stem
    )


def test_what_the_widget_cannot_do_it_says_in_a_line(widget):
    widget.answer(widget, {"key": "k", "what": "bank", "clip": 0, "mixture": {"hapy": 1}})
    widget.answer(widget, {"key": "k", "what": "take", "clip": 99})
    (first, _), (second, _) = widget.sent
    assert (
        "unknown emotion 'hapy' (did you mean happy?)" in first["fault"]
        and "choose another, the rest still works" in second["fault"]
    )


def refused(capsys, *words):
    assert main(list(words)) == 2
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    return printed.err[6:-1]


def test_a_run_that_is_not_there_or_not_ready_is_refused_with_what_can_be_read(tmp_path, capsys):
    assert "no such run: name a folder, as in runs/demo" in refused(
        capsys, "dial", str(tmp_path / "gone")
    )
    line = refused(capsys, "dial", str(tiny_run(tmp_path / "begun")))
    assert (
        "has no generator yet (05_generator is not complete)" in line
        and "what is done so far: cdrl scores" in line
    )
    assert "as in --out turn.html" in refused(capsys, "dial", str(tmp_path), "--out", "turn.png")


def test_a_run_of_another_version_is_refused_and_its_scores_are_named(tmp_path, capsys):
    old = tiny_dial(tmp_path / "old", made_by="0.0.7")
    line = refused(capsys, "dial", str(old))
    assert (
        "was made by cdrl 0.0.7, this is 0." in line
        and f"can still be read: cdrl scores {old}" in line
    )


def test_a_clip_that_cannot_be_used_is_refused(run, tmp_path, capsys, monkeypatch):
    assert "gone.mp4: no such video file" in refused(capsys, "dial", str(run), "--clip", "gone.mp4")
    (tmp_path / "text.mp4").write_text("no video")
    assert "text.mp4" in refused(capsys, "dial", str(run), "--clip", str(tmp_path / "text.mp4"))
    monkeypatch.setattr(session_module, "LONGEST", 1.0)
    line = refused(capsys, "dial", str(run), "--clip", str(NEUTRAL))
    assert line.endswith(
        "2 seconds, the dial takes up to 1: cut it, or edit it whole with cdrl edit"
    )
