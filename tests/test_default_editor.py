"""The default editor: the resting face, how far emotions move a face, lips that close."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from cdrl.core.vocabulary import ACTIONS, EMOTIONS
from cdrl.corpora.batches import image_tensor
from cdrl.corpora.samples import sample_paths
from cdrl.editing.control import emotion_weights
from cdrl.editing.pipeline import edit_clip, edit_stream, edit_video, editors_of_stretches
from cdrl.editors.base import ClipEditor, editor_of_clip
from cdrl.editors.default_amounts import EXPRESSIONS, OPENING, UPPER, action_factors, part_shifts
from cdrl.editors.default_editor import BLINK, DefaultEditor, code_sum, lip_gaps
from cdrl.editors.default_shifts import (
    HALF_SIDE,
    PARTS,
    UPPER_LIDS,
    lightened_share,
    part_masks,
    shift_flow,
)
from cdrl.editors.default_tracking import acted_actions, from_resting_face, neutral_actions
from cdrl.editors.loading import load_editor
from cdrl.evaluation.edit_scores import closed_frames, closure
from cdrl.evaluation.real_run import studio_subjects
from cdrl.media.crop_mesh import mesh_in_crops
from cdrl.media.faces import align, crop
from cdrl.media.inspection import InspectionJob, inspect_video
from cdrl.media.tracks import FaceTrack
from cdrl.studio.acting import act
from cdrl.studio.corpus import render_performance, smoke_specs

CELLS = 64
NEUTRAL = EMOTIONS.index("neutral")


@pytest.fixture(scope="module")
def editor() -> DefaultEditor:
    loaded = load_editor()
    assert isinstance(loaded, DefaultEditor)
    return loaded


@pytest.fixture(scope="module")
def crops() -> np.ndarray:
    """(T, 96, 96, 3) a studio person who speaks."""
    footage = studio_subjects(1)[0].read()
    return crop(footage.frames, footage.alignment, 96)


@pytest.fixture(scope="module")
def mesh(crops) -> np.ndarray:
    return np.median(mesh_in_crops(crops[::6]), axis=0)


def one_hot(emotion: str) -> torch.Tensor:
    return emotion_weights(emotion)[0]


def cell_of(mesh: np.ndarray, point: int) -> tuple[int, int]:
    """Row and column of the cell of a mesh point."""
    column = int((mesh[point, 0] + HALF_SIDE) / (2 * HALF_SIDE) * CELLS)
    row = int((mesh[point, 1] + 0.52) / (2 * HALF_SIDE) * CELLS)
    return row, column


def test_eyes_that_are_read_wrong_all_the_time_change_nothing():
    random = np.random.default_rng(0)
    truth = torch.from_numpy(random.uniform(0.1, 0.3, (9, len(ACTIONS)))).float()
    misread = truth.clone()
    misread[:, UPPER] += 0.6
    resting = truth.median(0).values
    shifted = resting.clone()
    shifted[UPPER] += 0.6

    expected = from_resting_face(truth, resting)
    assert torch.allclose(from_resting_face(misread, shifted), expected, atol=1e-6)
    lower_face = [index for index in range(len(ACTIONS)) if index not in UPPER]
    assert torch.equal(expected[:, lower_face], truth[:, lower_face])


def test_the_resting_face_at_rest_is_the_neutral_one_of_the_studio():
    resting = torch.rand(len(ACTIONS), generator=torch.Generator().manual_seed(1))
    at_rest = from_resting_face(resting[None], resting)[0]
    assert torch.allclose(at_rest[UPPER], neutral_actions()[UPPER], atol=1e-6)

    means = [act(spec).coefficients.mean(0) for spec in smoke_specs() if spec.emotion == "neutral"]
    studio = torch.from_numpy(np.mean(means, axis=0)).float()
    assert (studio[UPPER] - neutral_actions()[UPPER]).abs().max() < 0.03


def test_what_an_acted_source_shows_is_not_taken_for_its_resting_face(editor, crops):
    unknown = editor.for_clip(crops[::4]).clip
    angry = editor.for_clip(crops[::4], one_hot("angry")).clip
    neutral = editor.for_clip(crops[::4], one_hot("neutral")).clip
    assert torch.equal(unknown.resting, neutral.resting)
    assert (angry.resting <= neutral.resting).all()

    brow_down = ACTIONS.index("browDownLeft")
    assert acted_actions()[EMOTIONS.index("angry"), brow_down] == pytest.approx(0.9)
    assert acted_actions()[NEUTRAL].abs().max() == 0


def test_a_part_moves_by_its_shift_and_eyes_and_border_stay(mesh):
    masks = part_masks(mesh, CELLS)
    shifts = torch.zeros(1, len(PARTS), 2)
    shifts[:, list(PARTS).index("brow_inner")] = torch.tensor([0.0, 0.03])
    flow = shift_flow(masks, shifts)[0] * HALF_SIDE

    for point in PARTS["brow_inner"].points:
        assert float(flow[1][cell_of(mesh, point)]) == pytest.approx(0.03, rel=0.15)
    for lid in PARTS["upper_lids"].points:
        assert float(flow[1][cell_of(mesh, lid)].abs()) < 0.006
    assert float(flow[:, [0, -1]].abs().max()) == 0 and float(flow[:, :, [0, -1]].abs().max()) == 0


def test_lips_and_hair_on_them_are_not_painted_lighter(mesh):
    """Between the lips and around the eyes something may be uncovered; also where it has moved."""
    still = torch.zeros(1, 1, 2, CELLS, CELLS)
    share = lightened_share(mesh[None], still)[0, 0, 0]
    assert float(share[cell_of(mesh, 159)]) == 1  # an eye
    for skin in (0, 37, 267, 17, 164):  # edges of the lips, and below the nose
        assert float(share[cell_of(mesh, skin)]) == 0

    row, column = cell_of(mesh, 13)
    down = still.clone()
    down[:, :, 1] = 8 / (CELLS / 2)  # everything comes from 8 cells below
    moved = lightened_share(mesh[None], down)[0, 0, 0]
    assert float(share[row, column]) > 0.5
    assert float(moved[row - 8, column]) == pytest.approx(float(share[row, column]), abs=1e-5)


def test_outward_is_away_from_the_middle_on_both_sides(mesh):
    shifts = torch.zeros(1, len(PARTS), 2)
    shifts[:, list(PARTS).index("mouth_corners")] = torch.tensor([0.02, 0.0])
    flow = shift_flow(part_masks(mesh, CELLS), shifts)[0]
    left, right = (float(flow[0][cell_of(mesh, point)]) for point in (61, 291))
    # A pixel comes from nearer to the middle.
    assert left > 0 > right
    assert left == pytest.approx(-right, rel=0.2)


def test_amounts_of_mixtures_lie_between_and_neutral_asks_for_nothing():
    assert part_shifts(one_hot("neutral")).abs().max() == 0
    assert torch.equal(action_factors(one_hot("neutral")), torch.ones(len(ACTIONS)))
    mixed = emotion_weights({"fear": 0.5, "sad": 0.5})[0]
    expected = (part_shifts(one_hot("fear")) + part_shifts(one_hot("sad"))) / 2
    assert torch.allclose(part_shifts(mixed), expected, atol=1e-7)


def test_every_amount_names_a_part_and_actions_that_are_there():
    assert set(EXPRESSIONS) == set(EMOTIONS)
    for expression in EXPRESSIONS.values():
        assert set(expression.shifts) <= set(PARTS)
        for prefix in expression.factors:
            assert any(name.startswith(prefix) for name in ACTIONS), prefix
    assert {ACTIONS[index] for index in OPENING} >= {"jawOpen", "mouthStretchLeft"}
    assert len(code_sum()) == 12


@pytest.mark.parametrize("target", ["surprised", "happy"])
def test_lips_that_close_stay_closed(editor, crops, target):
    gaps = lip_gaps(mesh_in_crops(crops))
    closed = closed_frames(gaps)
    assert closed.sum() >= 3
    edited = edit_clip(editor, crops, target, source_emotion="neutral")
    score = closure([lip_gaps(mesh_in_crops(edited))], [closed])
    assert score.value >= 0.95


def test_eyes_that_blink_are_not_opened(editor):
    spec = smoke_specs()[0]
    performance = act(spec)
    coefficients = performance.coefficients.copy()
    coefficients[:, BLINK] = 0.05
    coefficients[12:15, BLINK] = 1.0
    blinking = replace(performance, coefficients=coefficients)
    frames, _ = render_performance(spec, blinking, 128)
    crops = crop(frames, align(frames, name="blink"), 96)

    own = editor.for_clip(crops[::3], one_hot("neutral"))
    images = image_tensor(crops)[None]
    weights = one_hot("surprised")[None]
    flow = own.fields(images, weights, torch.ones(1, len(crops)))[0][0]

    mesh = np.median(mesh_in_crops(crops[::6]), axis=0)
    row, column = cell_of(mesh, UPPER_LIDS[1])
    raised = flow[:, 1, row, column]
    assert raised[20:30].min() > 0.02, "open eyes are opened wider"
    assert raised[12:15].abs().max() < 0.4 * raised[20:30].min()


def test_an_open_mouth_is_opened_further_by_surprise(editor, crops):
    gaps = lip_gaps(mesh_in_crops(crops))
    edited = lip_gaps(mesh_in_crops(edit_clip(editor, crops, "surprised")))
    is_open = gaps > np.quantile(gaps, 0.75)
    assert (edited - gaps)[is_open].mean() > 0.01
    assert np.corrcoef(gaps, edited)[0, 1] > 0.9


def test_an_emotion_edited_to_itself_and_intensity_nothing_change_no_pixel(editor, crops):
    part = crops[:10]
    assert np.array_equal(edit_clip(editor, part, "angry", 1.0, source_emotion="angry"), part)
    assert np.array_equal(edit_clip(editor, part, "angry", 0.0), part)


def test_a_clip_in_pieces_is_edited_as_the_whole(editor, crops):
    weights = emotion_weights("sad", editor.card.emotions, "neutral")
    of_clip, weights = editor_of_clip(editor, crops[::4], weights)
    assert weights.shape == (1, 8)
    curve = np.ones(len(crops), np.float32)
    whole = np.stack(list(edit_stream(of_clip, crops, weights, curve, chunk=len(crops) + 1)))
    pieces = np.stack(list(edit_stream(of_clip, crops, weights, curve, chunk=5)))
    assert np.abs(whole.astype(int) - pieces).max() <= 1


def test_without_a_look_before_the_face_is_read_in_the_frames_themselves(editor, crops):
    frames = image_tensor(crops[:12])[None]
    intensity = torch.ones(1, 12)
    weights = emotion_weights("sad")
    bound = editor.for_clip(crops[:12])
    for one, other in zip(
        editor.fields(frames, weights, intensity),
        bound.fields(frames, weights, intensity),
        strict=True,
    ):
        assert torch.allclose(one, other, atol=1e-5)

    two = editor.fields(
        frames.expand(2, -1, -1, -1, -1),
        emotion_weights("sad", source_emotion="neutral"),
        intensity.expand(2, -1),
    )
    levels = bound.fields(frames, weights, torch.tensor([[0.0], [1.0]]).expand(2, 12))
    assert two[0].shape[0] == levels[0].shape[0] == 2
    assert float(levels[0][0].abs().max()) == 0


def test_other_editors_are_asked_for_no_look(crops):
    image = load_editor("generator")
    plain = load_editor("action_renderer")
    weights = emotion_weights("sad", source_emotion="neutral")
    for other in (image, plain):
        assert not isinstance(other, ClipEditor)
        assert editor_of_clip(other, crops, weights) == (other, weights)


def test_each_shot_gets_an_editor_that_saw_its_face(editor):
    track = inspect_video(InspectionJob(sample_paths()[0], progress=False)).track
    weights = emotion_weights("happy")
    of_one = editors_of_stretches(editor, sample_paths()[0], track, weights)
    assert list(of_one) == [0]

    stretch = track.stretches[0]
    half = len(stretch) // 2
    first = replace(stretch, stop=half, alignment=stretch.alignment.part(0, half))
    second = replace(stretch, start=half, alignment=stretch.alignment.part(half, len(stretch)))
    two_shots = FaceTrack(stretches=[first, second], shots=track.shots)
    of_two = editors_of_stretches(editor, sample_paths()[0], two_shots, weights)
    assert list(of_two) == [0, half]
    resting = [one.clip.resting for one, _ in of_two.values()]
    assert not torch.equal(*resting)


def test_the_note_of_an_edit_names_the_editor(editor, tmp_path):
    from cdrl.media.video import read_metadata

    out = edit_video(sample_paths()[0], "happy", tmp_path / "out.mp4", progress=False)
    assert "calibrated" in str(read_metadata(out))


def test_editors_have_the_names_of_their_scores():
    names = {"actions": "calibrated", "actions_plain": "action_renderer", "image": "generator"}
    for name, other in names.items():
        editor, same = load_editor(name), load_editor(other)
        assert type(editor) is type(same)
        assert editor.card == same.card
