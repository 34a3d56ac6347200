"""The edit of clips and files: what stays, what may change, what is refused before writing."""

import json
import shutil

import numpy as np
import pytest
import torch

import cdrl
from cdrl.core.checkpoint import load_card, save_weights
from cdrl.core.errors import InputError
from cdrl.core.paths import data_root
from cdrl.core.settings import (
    ContentConfig,
    CorpusConfig,
    EmotionConfig,
    PriorsConfig,
    stage_folder,
)
from cdrl.core.stage import run_stage
from cdrl.core.vocabulary import EMOTIONS
from cdrl.corpora.samples import sample_paths
from cdrl.editing import image_fit
from cdrl.editing import pipeline as edit
from cdrl.editing.control import IntensityCurve, emotion_weights
from cdrl.editing.disclosure import NOTE_KEY, describe_earlier, earlier_notes, mark_frames
from cdrl.editors.actions import ActionEditor
from cdrl.editors.base import EditorCard, card_entries, read_editor_card
from cdrl.editors.image import image_entries
from cdrl.editors.loading import load_editor
from cdrl.media.decoding import open_video
from cdrl.media.encoding import SYNTHETIC, write_video
from cdrl.media.faces import Alignment, align, crop
from cdrl.media.tracks import follow_face
from cdrl.media.video import read_metadata, read_video, video_facts
from cdrl.models.constant_edit import ConstantEdit
from cdrl.models.field_network import apply_fields
from cdrl.models.image_editor import ImageEditor, label_weights
from cdrl.representation.guidance import Guidance


def busy_editor(card=None):
    """An editor that was never trained, but whose last layers move, shade and paint."""
    torch.manual_seed(0)
    editor = ImageEditor(card=card or EditorCard())
    for layer in (editor.flow_residual_head, editor.shade):
        torch.nn.init.normal_(layer.weight, std=0.2)
    return editor.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def editor():
    return busy_editor()


def write_run(run, **card):
    """An editor in the folder that a run's training leaves it in; returns the editor."""
    made = busy_editor(EditorCard("cdrl", run=run, **card))
    folder = run / "05_generator" / "cdrl"
    save_weights(folder / "model.safetensors", made, image_entries(made, folder))
    return made


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """The first second of a real clip, at its own rate, with its sound."""
    clip = read_video(sample_paths()[3], frame_rate=None)
    path = tmp_path_factory.mktemp("edit") / "happy.mp4"
    write_video(path, clip.frames[20:50], clip.frame_rate, clip.audio[10_000:26_016])
    return path


def noise(frames, size=64, seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 255, (frames, size, size, 3), dtype=np.uint8)


def sound_packets(path):
    with open_video(path) as (container, _, audio):
        return [bytes(packet) for packet in container.demux(audio) if packet.size]


def test_an_edit_in_pieces_equals_an_edit_in_one(editor, monkeypatch):
    crops = noise(50)
    curve = np.linspace(0, 1.5, 50).astype(np.float32)
    pieces = edit.edit_clip(editor, crops, "happy", curve)
    monkeypatch.setattr(edit, "CHUNK", 1000)
    whole = edit.edit_clip(editor, crops, "happy", curve)
    assert pieces.shape == crops.shape
    assert np.abs(pieces.astype(int) - whole).max() <= 1
    assert (pieces[1:] != crops[1:]).mean() > 0.5
    assert np.array_equal(pieces[0], crops[0])


def test_one_frame_and_a_long_clip_come_back_whole(editor):
    assert edit.edit_clip(editor, noise(1), "sad").shape == (1, 64, 64, 3)
    length = edit.CHUNK + 9
    assert edit.edit_clip(editor, noise(length), "sad").shape == (length, 64, 64, 3)


def test_intensity_zero_gives_the_very_crops(editor):
    crops = noise(7, 96)
    assert np.array_equal(edit.edit_clip(editor, crops, "angry", 0.0), crops)


def test_smoothing_keeps_a_constant_and_calms_a_tremble():
    still = torch.full((9, 2, 3, 3), 0.4)
    tremble = torch.tensor([1.0, -1.0] * 5).view(10, 1, 1, 1)
    assert torch.allclose(edit.smooth(still), still)
    assert edit.smooth(tremble)[2:-2].abs().max() < 1e-6


def test_the_stream_holds_no_more_than_it_must(editor):
    taken = []

    def crops():
        for number, picture in enumerate(noise(80)):
            taken.append(number)
            yield picture

    curve = np.ones(80, np.float32)
    longest = 0
    stream = edit.edit_stream(editor, crops(), label_weights(["happy"]), curve)
    for done, _ in enumerate(stream):
        longest = max(longest, len(taken) - done)
    assert longest <= edit.CHUNK + 2 * 4


def test_a_faster_video_looks_equally_far_back(editor):
    slow = noise(20).repeat(2, 0)  # 50 Hz, every picture twice
    at_50 = edit.edit_clip(editor, slow, "fear", 1.0, frame_rate=50.0)
    at_25 = edit.edit_clip(editor, slow, "fear", 1.0, frame_rate=25.0)
    assert not np.array_equal(at_50, at_25)


def test_mixtures_are_weighed():
    half = emotion_weights({"happy": 2, "sad": 2})
    mean = (label_weights(["happy"]) + label_weights(["sad"])) / 2
    assert torch.allclose(half, mean)
    assert torch.equal(emotion_weights("fear"), label_weights(["fear"]))


def test_an_edited_video_keeps_length_rate_size_and_sound(editor, video, tmp_path):
    out = edit.edit_video(video, "sad", tmp_path / "sad.mp4", 1.0, editor, progress=False)
    before = video_facts(video)
    after = video_facts(out)
    assert after.num_frames == before.num_frames
    assert (after.width, after.height) == (before.width, before.height)
    assert abs(after.frame_rate - before.frame_rate) < 1e-3
    assert sound_packets(out) == sound_packets(video)
    metadata = read_metadata(out)
    assert metadata["comment"] == SYNTHETIC and "sad" in metadata["title"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sad.mp4"]

    source = read_video(video, None).frames.astype(int)
    difference = np.abs(source - read_video(out, None).frames)
    assert difference[:, :20, :20].mean() < 2 < difference[:, 100:260, 160:320].mean()


def test_frames_outside_the_crop_and_frames_of_intensity_zero_stay_to_the_bit(editor, video):
    frames = read_video(video, None).frames[:12]
    alignment = align(frames)
    curve = np.array([0] * 6 + [1] * 6, np.float32)
    weights = label_weights(["happy"])
    out = np.stack(list(edit.edited_frames(editor, frames, alignment, weights, curve)))
    assert np.array_equal(out[:6], frames[:6]) and not np.array_equal(out[6:], frames[6:])

    touched = (out != frames).any((0, 3))
    corners = alignment.transforms[0] @ np.array([[0, 96], [0, 96], [1, 1]])
    left = int(corners[0, 0]) - 8
    top = int(corners[1, 0]) - 8
    assert not touched[:top].any() and not touched[:, :left].any()


def test_an_editor_that_does_nothing_leaves_every_frame_to_the_bit(video):
    torch.manual_seed(0)
    idle = ImageEditor().eval()
    frames = read_video(video, None).frames[:8]
    curve = np.ones(8, np.float32)
    out = edit.edited_frames(idle, frames, align(frames), label_weights(["happy"]), curve)
    assert np.array_equal(np.stack(list(out)), frames)


@pytest.mark.parametrize(("scale", "size"), [(0.3, 64), (1.0, 96), (2.1, 208), (9.0, 320)])
def test_the_crop_is_as_large_as_the_face(scale, size):
    transform = np.array([[scale, 0, 0], [0, scale, 0]], np.float32)
    alignment = Alignment(np.tile(transform, (3, 1, 1)), np.zeros(4))
    assert edit.crop_size(alignment) == size


def test_large_crops_keep_their_detail():
    """A pattern of single pixels, moved by whole pixels, is as sharp as before.

    Fields are enlarged, pictures are not.
    """
    picture = torch.from_numpy(noise(1, 256)).permute(0, 3, 1, 2).float() / 255
    flow = torch.zeros(1, 2, 32, 32)
    flow[:, 0] = 3 / 128
    out = apply_fields(picture, flow, torch.zeros(1, 1, 16, 16), torch.zeros(1, 3, 64, 64))
    assert torch.allclose(out[..., :200], picture[..., 3:203], atol=1e-3)


def test_an_editor_is_found_by_name_path_and_run(tmp_path, monkeypatch):
    made = write_run(tmp_path / "run", emotions=("happy", "sad"))
    save_weights(tmp_path / "mine.safetensors", made, image_entries(made, tmp_path))
    monkeypatch.setenv("CDRL_WEIGHTS", str(tmp_path))
    for where in ("mine", tmp_path / "mine.safetensors", tmp_path / "run"):
        found = load_editor(where)
        assert torch.equal(found.table, made.table.half().float())
        assert found.card.emotions == ("happy", "sad")
    with pytest.raises(InputError, match="emotion 'fear': this editor learnt happy, sad"):
        edit.edit_clip(found, noise(1), "fear")
    with pytest.raises(InputError, match="no trained editor here; run notebook 05"):
        load_editor(tmp_path.parent)


def test_a_card_on_disk_is_the_card_that_was_written(tmp_path):
    card = EditorCard("mine", ("happy", "sad"), "released", tmp_path / "run")
    folder = tmp_path / "run" / "05_generator" / "cdrl"
    entries = {"editor": "image"} | card_entries(card, folder)
    assert entries["run"] == "../.."
    assert read_editor_card(entries, folder / "model.safetensors") == card
    alone = EditorCard("mine")
    entries = {"editor": "image"} | card_entries(alone, folder)
    assert entries["run"] is None
    assert read_editor_card(entries, folder / "model.safetensors") == alone


def test_a_run_that_was_moved_is_found_from_its_editor(tmp_path):
    write_run(tmp_path / "run")
    shutil.move(tmp_path / "run", tmp_path / "elsewhere")
    assert load_editor(tmp_path / "elsewhere").card.run == tmp_path / "elsewhere"


def test_networks_that_are_no_editors_are_refused(tmp_path):
    with pytest.raises(InputError, match="judge_a.json: the card of an editor needs editor, emo"):
        load_editor("judge_a")
    write_run(tmp_path / "run")
    path = tmp_path / "run" / "05_generator" / "cdrl" / "model.json"
    path.write_text(path.read_text().replace('"editor": "image"', '"editor": "sculptor"'))
    with pytest.raises(InputError, match="'sculptor' is unknown, accepted are 'facial actions'"):
        load_editor(tmp_path / "run")


def test_every_editor_answers_as_the_protocol_says():
    editors = (load_editor("generator"), load_editor("action_renderer"), ConstantEdit())
    assert [made.can_fit for made in editors] == [True, False, False]
    assert [made.card.crop for made in editors] == ["aligned"] * 3
    assert [made.card.name for made in editors] == ["generator", "action_renderer", "unnamed"]
    assert [made.card.run for made in editors] == [None] * 3
    assert isinstance(editors[1], ActionEditor)
    frames = torch.rand(1, 5, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    weights = label_weights(["happy"])
    for made in editors:
        assert set(made.card.emotions) <= set(EMOTIONS)
        assert made.reach >= made.stride >= 0 and made.field_rank > 0
        assert list(made.intensity_knots) == sorted(made.intensity_knots)
        fields = made.fields(frames, weights, torch.zeros(1, 5), slice(1, 3))
        assert [len(field[0]) for field in fields] == [2, 2, 2]
        assert all(field.abs().max() == 0 for field in fields)


def test_the_committed_cards_say_what_an_editor_needs():
    for name in ("generator", "generator_start", "action_renderer"):
        card = load_card(name)
        assert (card["name"], card["crop"], card["run"]) == (name, "aligned", None)
        assert "happy" in card["emotions"] and "editor" in card


def test_an_editor_crops_as_the_run_that_trained_it(video, tmp_path):
    run = tmp_path / "run"
    write_run(run, crop="released")
    folder = run / "05_generator"
    for where in (run, folder, folder / "cdrl" / "model.safetensors"):
        assert load_editor(where).card.crop == "released"
    assert load_editor().card.crop == "aligned"

    out = edit.edit_video(video, "sad", tmp_path / "a.mp4", 1.0, load_editor(run))
    before = read_video(video, None).frames
    after = read_video(out, None).frames.astype(int)
    inside = np.zeros(before.shape[:3], bool)
    transforms = align(before, crop="released").transforms
    for mask, transform in zip(inside, transforms, strict=True):
        left, top = transform[:, 2].astype(int)
        right, bottom = (transform @ [96, 96, 1]).astype(int)
        mask[top : bottom + 1, left : right + 1] = True
    change = np.abs(before - after).mean(3)
    assert change[~inside].mean() < 2 < change[inside].mean()  # the codec's rounding; the edit


@pytest.mark.parametrize(
    ("emotion", "intensity", "message"),
    [
        ("hapy", 1.0, "unknown emotion 'hapy' .did you mean happy"),
        ({"happy": -1}, 1.0, "emotion 'happy' has weight -1: weights of a mixture are finite"),
        ("happy", 2.0, "intensity 2: 0 .nothing changes. to 1.5 is accepted"),
        ("happy", -0.1, "intensity -0.1: 0 .nothing changes. to 1.5 is accepted"),
        ("happy", float("nan"), "intensity nan: 0 .nothing changes. to 1.5 is accepted"),
        ("happy", np.ones(4), "a curve of 4 values for 30 frames; give one number, or one per"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_written(
    editor, video, tmp_path, emotion, intensity, message
):
    with pytest.raises(InputError, match=message):
        edit.edit_video(video, emotion, tmp_path / "out.mp4", intensity, editor)
    assert not list(tmp_path.iterdir())


def test_a_faceless_or_unreadable_video_is_refused_before_anything_is_written(editor, tmp_path):
    write_video(tmp_path / "wall.mp4", np.full((12, 96, 96, 3), 128, np.uint8), 25.0)
    (tmp_path / "broken.mp4").write_bytes(b"not a video")
    messages = {
        "wall.mp4": "wall.mp4: no face found",
        "broken.mp4": "broken.mp4",
        "none.mp4": "none.mp4",
    }
    for name, message in messages.items():
        with pytest.raises(InputError, match=message):
            edit.edit_video(tmp_path / name, "happy", tmp_path / "out.mp4", 1.0, editor)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.mp4", "wall.mp4"]


def edited(editor, source, out, **options):
    """The edit of a file, and the lines that it said."""
    lines = []
    edit.edit_video(source, "happy", out, 1.0, editor, False, say=lines.append, **options)
    return read_video(out, None, require_audio=False).frames, lines


def test_frames_that_cannot_be_edited_are_the_source_s_to_the_bit(editor, video):
    frames = read_video(video, None).frames[:20]
    frames[8:12] = 0
    track = follow_face(frames)
    weights = label_weights(["happy"])
    curve = track.strength(4)
    out = np.stack(list(edit.edited_track(editor, frames, track, weights, curve)))
    assert np.array_equal(out[8:12], frames[8:12])
    for start, stop in ((0, 8), (12, 20)):
        alone = frames[start:stop]
        alone_track = follow_face(alone)
        alone_curve = np.ones(8, np.float32)
        expected = edit.edited_track(editor, alone, alone_track, weights, alone_curve)
        assert np.array_equal(out[start:stop], np.stack(list(expected)))
        assert not np.array_equal(out[start:stop], alone)


def test_an_edit_says_in_its_metadata_what_was_asked(editor, video, tmp_path):
    out = tmp_path / "mixed.mp4"
    mixture = {"happy": 0.7, "sad": 0.3}
    curve = IntensityCurve([0, 0.5], [0, 1])
    options = {"source_emotion": "neutral", "say": list}
    edit.edit_video(video, mixture, out, curve, editor, False, **options)
    metadata = read_metadata(out)
    assert metadata["comment"] == SYNTHETIC
    note = json.loads(metadata[NOTE_KEY])
    assert note["synthetic"] is True
    assert note["emotion"] == "0.7 happy + 0.3 sad"
    assert (note["source_emotion"], note["intensity"]) == ("neutral", "0 to 1")
    assert (note["editor"], note["version"]) == (editor.card.name, cdrl.__version__)
    assert (note["edited_frames"], note["frames"]) == (29, 30)
    assert note["earlier"] == [{"synthetic": True}], "the source is a file of the kit"
    for part in ("Synthetic", "from neutral to 0.7 happy + 0.3 sad", "0 to 1", cdrl.__version__):
        assert part in metadata["description"]


def test_an_edit_of_an_edit_says_so_and_keeps_the_earlier_notes(editor, video, tmp_path):
    recording = tmp_path / "recording.mp4"
    clip = read_video(video, None)
    write_video(recording, clip.frames[:6], 25.0, metadata={"comment": "", "description": ""})
    _, lines = edited(editor, recording, tmp_path / "a.mp4")
    assert not any("synthetic" in line for line in lines)
    _, lines = edited(editor, tmp_path / "a.mp4", tmp_path / "b.mp4")
    [line] = [line for line in lines if "synthetic already" in line]
    assert line.startswith("a.mp4: ") and "happy, intensity 1, cdrl" in line
    edited(editor, tmp_path / "b.mp4", tmp_path / "c.mp4")
    earlier = json.loads(read_metadata(tmp_path / "c.mp4")[NOTE_KEY])["earlier"]
    assert [note["emotion"] for note in earlier] == ["happy", "happy"]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '"a"', "[" * 50_000, '{"earlier": 3}', '{"earlier": [1, {}]}']
)
def test_a_stranger_s_note_is_read_without_trust(text):
    notes = earlier_notes({NOTE_KEY: text})
    assert all(isinstance(note, dict) for note in notes)
    assert describe_earlier(notes).isprintable()
    nasty = earlier_notes({NOTE_KEY: json.dumps({"emotion": "\x1b[2J\n" * 99})})
    assert describe_earlier(nasty).isprintable() and len(describe_earlier(nasty)) < 600


@pytest.mark.parametrize("size", [(360, 480), (1080, 1920), (64, 64), (8, 12), (1, 1)])
def test_a_mark_is_drawn_into_every_frame_alike_and_nothing_else_changes(size):
    random = np.random.default_rng(0)
    frames = random.integers(60, 200, (3, *size, 3), dtype=np.uint8)
    marked = np.stack(list(mark_frames(iter(frames), "happy")))
    assert marked.shape == frames.shape
    changed = (marked != frames).any(axis=(0, 3))
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    label = marked[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert np.ptp(label, axis=0).max() == 0
    if min(size) >= 64:
        assert label.min() < 40 and label.max() > 215, "light letters on a dark ground"
        assert 9 <= label.shape[1] <= 0.25 * size[0] + 4
        assert rows[0] > size[0] / 2 and columns[0] < size[1] / 4, "in the lower left corner"
        assert changed.mean() < 0.06 or size == (64, 64)


def test_a_marked_edit_is_marked_where_nothing_is_edited_too(editor, video, tmp_path):
    source = tmp_path / "source.mp4"
    frames = np.concatenate([np.zeros((4, 360, 480, 3), np.uint8), read_video(video).frames[:4]])
    write_video(source, frames, 25.0)
    marked, lines = edited(editor, source, tmp_path / "a.mp4", mark=True)
    corner = marked[:, -40:, :120].astype(int)
    assert (corner.max(axis=(1, 2, 3)) > 200).all()
    assert np.abs(corner - corner[0])[:, 5:24, 16:90].mean() < 3
    assert marked[:4, :300].max() < 20
    assert any("4 of 8 frames stay" in line for line in lines)


@pytest.mark.parametrize("face", [1, 2, "2", (560.0, 60, 300, 300)])
def test_the_chosen_one_of_two_faces_is_edited_and_the_other_stays(editor, video, tmp_path, face):
    frames = read_video(video, None).frames[:5]
    source = tmp_path / "two.mp4"
    write_video(source, np.concatenate([frames, frames], axis=2), 25.0)
    out, lines = edited(editor, source, tmp_path / "a.mp4", face=face)
    change = np.abs(out.astype(int) - read_video(source, None, require_audio=False).frames)
    left = change[:, 100:260, 160:320].mean()
    right = change[:, 100:260, 640:800].mean()
    chosen, other = (left, right) if face == 1 else (right, left)
    assert chosen > 2 > other
    assert f"face {1 if face == 1 else 2} is edited" in lines[0]


def test_the_source_is_never_overwritten(editor, video):
    with pytest.raises(InputError, match="is the source itself"):
        edit.edit_video(video, "happy", video, 1.0, editor, progress=False)


def test_crops_of_a_real_clip_are_edited_at_their_own_resolution(editor, video):
    frames = read_video(video, None).frames[:6]
    alignment = align(frames)
    size = edit.crop_size(alignment)
    crops = crop(frames, alignment, size)
    out = edit.edit_clip(editor, crops, "happy", 1.0, 29.97)
    assert out.shape == (6, size, size, 3) and size > 96


def test_a_folder_without_clips_to_fit_to_is_refused(editor, tmp_path):
    (tmp_path / "1001_DFA_HAP_XX.flv").write_bytes(b"")
    (tmp_path / "holiday.mp4").write_bytes(b"")
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="no clip to fit to; give a folder .* CREMA-D's"):
            image_fit.fit_image_editor(editor, folder, tmp_path / "holiday.mp4", "happy")


@pytest.fixture
def released(tmp_path):
    """A run whose editor and encoders learnt released crops; the encoders are committed ones."""
    run = tmp_path / "run"
    for config in (CorpusConfig(crop="released"), PriorsConfig(), ContentConfig(), EmotionConfig()):
        run_stage(config, run, lambda out: {})
    for stage in ("content", "emotion"):
        source = data_root() / "weights" / "guidance" / stage
        shutil.copytree(source, stage_folder(run, stage), dirs_exist_ok=True)
    write_run(run, crop="released")
    return run


def test_a_fit_is_guided_by_the_editor_s_own_run(released, tmp_path, monkeypatch):
    [sad] = [path for path in sample_paths() if "SAD" in path.name]
    person = tmp_path / "person"
    person.mkdir()
    clip = read_video(sad)
    frames = clip.frames[20:32]
    write_video(person / "1001_DFA_SAD_XX.mp4", frames, 25.0, clip.audio[12_800:20_480])

    opened = []
    fitted = []
    fit_person = image_fit.fit_person

    def open_guidance(where=None):
        opened.append(where)
        return Guidance(where)

    def record_fit(editor, store, guidance, *settings):
        fitted.append(guidance.crop)
        return fit_person(editor, store, guidance, *settings)

    monkeypatch.setattr(image_fit, "Guidance", open_guidance)
    monkeypatch.setattr(image_fit, "fit_person", record_fit)
    for where in (released, "generator"):
        image_fit.fit_image_editor(load_editor(where), person, sad, "happy", steps=1)
    assert opened == [released, None]
    assert fitted == ["released", "aligned"]


def test_a_fit_with_encoders_of_other_crops_is_refused_in_a_line(released, tmp_path):
    line = "learnt released crops, the guidance .guidance. aligned .* corpus.crop=released"
    with pytest.raises(InputError, match=f"{line}, --guidance RUN$"):
        image_fit.fit_image_editor(
            load_editor(released), tmp_path, tmp_path, "happy", guidance="guidance"
        )
    with pytest.raises(InputError, match="learnt aligned crops, the guidance .*run. released ones"):
        image_fit.fit_image_editor(
            load_editor("generator"), tmp_path, tmp_path, "happy", guidance=released
        )


def test_a_fit_without_the_run_of_the_editor_asks_for_one(released, tmp_path):
    editor = load_editor(released)
    shutil.move(released, tmp_path / "elsewhere")
    with pytest.raises(
        InputError, match="run: the run that trained cdrl is not here .* --guidance"
    ):
        image_fit.fit_image_editor(editor, tmp_path, tmp_path, "happy")
