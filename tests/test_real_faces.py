"""Networks trained on real faces, what they say of edits, and the command that asks them."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from cdrl.cli.main import main
from cdrl.core.checkpoint import load_card, load_weights
from cdrl.core.paths import data_root
from cdrl.core.vocabulary import SCORED_EMOTIONS
from cdrl.evaluation.estimate import flatten_scores
from cdrl.evaluation.face_geometry import (
    BROW_INNER,
    BROW_OUTER,
    INNER_LIPS,
    LOWER_LIDS,
    MEASURES,
    MOUTH_CORNERS,
    UPPER_LIDS,
    measure_face,
    measure_landmarks,
)
from cdrl.evaluation.real_clips import Footage, find_people
from cdrl.evaluation.real_run import EditSource, RealRun, Work, studio_subjects
from cdrl.evaluation.real_scores import (
    FaceReading,
    PersonEdit,
    estimate_real_scores,
    load_reading,
    people_table,
    save_reading,
)
from cdrl.media.faces import RIGID, SIDE
from cdrl.models.real_faces import DenseFaceNet, FaceRes, MiniXception, same_padding
from cdrl.report.real_tables import real_readme

FOLDER = data_root() / "weights" / "real"
GREY = torch.tensor([0.2989, 0.587, 0.114]).view(1, 3, 1, 1)
# Of a numpy program that runs the packages' own files node by node.
EXPRESSION = [0.1403, 0.0019, 0.8437, 0.0009, 0.0022, 0.0011, 0.0099]
EXPRESSION_FER = [0.0659, 0.0001, 0.0110, 0.0115, 0.9108, 0.0003, 0.0005]
IDENTITY_COSINES = [0.94217, 0.93157]


def crops():
    """Three smooth random pictures (3, 160, 160, 3) uint8."""
    random = np.random.default_rng(0)
    pictures = []
    for _ in range(3):
        noise = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        pictures.append(np.asarray(Image.fromarray(noise).resize((160, 160), Image.BICUBIC)))
    return np.stack(pictures)


def resized(size):
    pictures = [Image.fromarray(crop).resize((size, size), Image.BILINEAR) for crop in crops()]
    return torch.from_numpy(np.stack(pictures).astype(np.float32)).permute(0, 3, 1, 2)


def test_expressions_are_those_of_the_package():
    network = load_weights(str(FOLDER / "expression.safetensors"), DenseFaceNet(7))
    probabilities = network(resized(112)).softmax(1)[0]
    assert probabilities.tolist() == pytest.approx(EXPRESSION, abs=1e-4)


def test_expressions_of_the_second_network_are_those_of_its_package():
    network = load_weights(str(FOLDER / "expression_fer.safetensors"), MiniXception())
    grey = (resized(64) * GREY).sum(1, keepdim=True) / 127.5 - 1
    probabilities = network(grey).softmax(1)[0]
    assert probabilities.tolist() == pytest.approx(EXPRESSION_FER, abs=1e-4)


def test_identities_are_unit_vectors_and_those_of_the_package():
    network = load_weights(str(FOLDER / "identity.safetensors"), FaceRes())
    vectors = network(resized(224))
    assert vectors.shape == (3, 1024)
    assert vectors.norm(dim=1).tolist() == pytest.approx([1.0] * 3, abs=1e-5)
    cosines = vectors[1:] @ vectors[0]
    assert cosines.tolist() == pytest.approx(IDENTITY_COSINES, abs=1e-4)


def test_every_card_names_source_licence_and_use():
    for name in ("expression", "expression_fer", "identity", "landmarks"):
        card = load_card(str(FOLDER / f"{name}.safetensors"))
        assert card["licence"] == "MIT"
        assert "npm @vladmandic/" in card["source"]
        assert "not for training" in card["use"]
        assert card["trained_on"]


def test_padding_is_larger_behind():
    padded = same_padding(torch.ones(1, 1, 4, 4), kernel=3, stride=2)
    assert padded.shape == (1, 1, 5, 5)
    assert padded[0, 0, :, 0].tolist() == [1, 1, 1, 1, 0]
    assert same_padding(torch.ones(1, 1, 5, 5), kernel=3, stride=2).shape == (1, 1, 7, 7)


# --- geometry


def still_mesh(frames=12):
    """A face that does not move, in outer-eye distances."""
    points = np.zeros((frames, 468, 2))
    for numbers, y in ((RIGID, 0.5), (BROW_INNER, 0.3), (BROW_OUTER, 0.32), (UPPER_LIDS, 0.48)):
        points[:, list(numbers), 1] = y
    points[:, list(LOWER_LIDS), 1] = 0.54
    points[:, list(MOUTH_CORNERS)] = [[-0.25, 1.1], [0.25, 1.1]]
    points[:, list(INNER_LIPS)] = [[0, 1.1], [0, 1.14]]
    return points


def test_each_measure_of_a_face_is_the_distance_it_is_called():
    measures = measure_face(still_mesh())
    expected = {
        "brow_inner": 0.2,
        "brow_outer": 0.18,
        "lids": 0.06,
        "mouth_width": 0.5,
        "mouth_opening": 0.04,
    }
    assert set(measures) == set(MEASURES) == set(expected)
    for name, value in expected.items():
        assert measures[name] == pytest.approx(np.full(12, value)), name


def test_raised_brows_and_an_open_mouth_move_their_measures_alone():
    raised = still_mesh()
    raised[:, list(BROW_INNER), 1] -= 0.04
    raised[:, INNER_LIPS[1], 1] += 0.1
    before = measure_face(still_mesh())
    after = measure_face(raised)
    moved = {name: (after[name] - before[name]).mean() for name in MEASURES}
    expected = [0.04, 0, 0, 0, 0.1]
    assert [moved[name] for name in MEASURES] == pytest.approx(expected)


def test_landmarks_are_measured_as_the_mesh_is():
    points = np.zeros((6, 68, 2))
    points[:, 36:48, 1] = 0.25
    points[:, [37, 38, 43, 44], 1] -= 0.01
    points[:, [40, 41, 46, 47], 1] += 0.01
    points[:, 20:24, 1] = 0.17
    points[:, [17, 18, 25, 26], 1] = 0.19
    points[:, [48, 54], 0] = 0.4, 0.6
    points[:, 66, 1] = 0.03
    measures = measure_landmarks(points)
    expected = [0.08, 0.06, 0.02, 0.2, 0.03]  # of the crop, which is 2.05 eye distances wide
    found = [measures[name][0] / SIDE for name in MEASURES]
    assert found == pytest.approx(expected)


def test_movements_are_printed_by_the_mesh_and_by_the_landmarks():
    raised = np.zeros((6, 68, 2))
    raised[:, 20:24, 1] = -0.02
    source = reading(one_hot("neutral"))
    edit = PersonEdit("a", "fear", source, reading(one_hot("fear"), landmarks=raised))
    scores = flatten_scores(estimate_real_scores("real.x", [edit]))
    assert scores["real.x.fear.brow_inner"] == 0
    assert scores["real.x.fear.brow_inner.landmarks"] == pytest.approx(0.02 * SIDE)


# --- scores


def reading(probabilities, points=None, identity=0, background=0.5, landmarks=None):
    """A reading whose two networks say the same."""
    vectors = np.tile(np.eye(8)[identity], (6, 1))
    points = still_mesh() if points is None else points
    landmarks = np.zeros((6, 68, 2)) if landmarks is None else landmarks
    return FaceReading(np.stack([probabilities] * 2), vectors, landmarks, points, background)


def one_hot(emotion, share=0.7):
    rest = (1 - share) / (len(SCORED_EMOTIONS) - 1)
    probabilities = np.full(len(SCORED_EMOTIONS), rest)
    probabilities[SCORED_EMOTIONS.index(emotion)] = share
    return probabilities


def speaking(scale=1.0, floor=0.0):
    """Lips that open and close: gaps .08, .01, .08 and so on, scaled, none below a floor."""
    points = still_mesh()
    gaps = np.tile([0.08, 0.01], 6)
    points[:, INNER_LIPS[1], 1] = 1.1 + np.maximum(scale * gaps, floor)
    return points


SHOWN = ("happy", "happy", "sad")  # by three people whose edits ask for happy


def three_edits():
    edits = []
    for person, shown in zip("abc", SHOWN, strict=True):
        source = reading(one_hot("neutral"), speaking())
        edited = reading(one_hot(shown), speaking(floor=0.04 if person == "c" else 0.0))
        edits.append(PersonEdit(person, "happy", source, edited))
    return edits


def test_scores_of_edits_are_those_that_were_built_in():
    scores = flatten_scores(estimate_real_scores("real.x", three_edits()))
    assert scores["real.x.happy.top"] == pytest.approx(2 / 3)
    assert scores["real.x.happy.top.count"] == 2
    assert scores["real.x.happy.top.source"] == 0
    assert scores["real.x.happy.top.expression_fer"] == pytest.approx(2 / 3)
    assert scores["real.x.happy.probability"] == pytest.approx((0.7 + 0.7 + 0.05) / 3)
    assert scores["real.x.happy.rise"] == pytest.approx((0.65 + 0.65 + 0) / 3)
    assert scores["real.x.happy.rise.worst"] == pytest.approx(0)
    assert scores["real.x.happy.identity"] == scores["real.x.happy.identity.two_frames"] == 1
    # Five of the six closed frames of each lie between two open ones; c keeps none closed.
    assert scores["real.x.happy.closure"] == pytest.approx(2 / 3)
    assert scores["real.x.happy.closure.worst"] == 0
    assert scores["real.x.happy.opening_correlation"] == pytest.approx(1)
    assert scores["real.x.happy.background"] == 0.5
    assert scores["real.x.happy.rise.n"] == 3
    assert scores["real.x.happy.rise.low"] < scores["real.x.happy.rise"]


def test_all_is_the_mean_over_emotions_with_one_row_a_person():
    edits = three_edits()
    for edit in three_edits():
        sad = reading(one_hot("sad"), speaking())
        edits.append(PersonEdit(edit.person, "sad", edit.source, sad))
    scores = flatten_scores(estimate_real_scores("real.x", edits))
    for name in ("top", "rise", "probability", "mouth_opening"):
        of_emotions = [scores[f"real.x.{emotion}.{name}"] for emotion in ("happy", "sad")]
        assert scores[f"real.x.all.{name}"] == pytest.approx(np.mean(of_emotions)), name
    assert scores["real.x.all.top.n"] == 3
    assert scores["real.x.all.top.count"] == 5


def test_an_acted_clip_of_another_length_has_no_scores_frame_by_frame():
    source = reading(one_hot("neutral"), speaking())
    acted = reading(one_hot("happy"), still_mesh(frames=9))
    edits = [PersonEdit("a", "happy", source, acted)]
    scores = flatten_scores(estimate_real_scores("real.acted", edits))
    assert scores["real.acted.happy.top"] == 1
    assert not any("closure" in name or "jitter" in name for name in scores)
    assert np.isnan(scores["real.acted.happy.rise.low"])


def test_the_table_names_every_person_and_the_worst_one():
    lines = people_table("real.x", three_edits())
    assert [line["person"] for line in lines] == list("abcabc")
    assert lines[2]["closure"] == 0
    scores = flatten_scores(estimate_real_scores("real.x", three_edits()))
    page = real_readme({"real.x": {"scores": scores}}, lines, "cdrl evaluate clips", "out")
    assert "closure 0.00 (c, happy)" in page
    assert "| happy | 2 of 3 |" in page


def test_a_reading_is_found_again_under_its_key_alone(tmp_path):
    kept = reading(one_hot("happy"))
    path = tmp_path / "a" / "happy.npz"
    save_reading(kept, path, "key")
    again = load_reading(path, "key")
    assert again.probabilities == pytest.approx(kept.probabilities)
    assert again.background == 0.5
    assert load_reading(path, "another") is None
    path.write_bytes(path.read_bytes()[:100])
    assert load_reading(path, "key") is None
    assert load_reading(tmp_path / "none.npz", "key") is None


# --- clips and the command


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_people_are_told_by_folder_by_name_or_are_one_a_file(tmp_path):
    touch(tmp_path, "anna/b.mp4", "anna/a.mp4", "1001_DFA_NEU_XX.flv", "1001_DFA_HAP_XX.flv")
    touch(tmp_path, "walk.mov", "notes.txt")
    people = find_people(tmp_path)
    clips = {clip.person: clip.path.name for clip in people}
    assert clips == {"1001": "1001_DFA_NEU_XX.flv", "anna": "a.mp4", "walk": "walk.mov"}
    assert {emotion: path.name for emotion, path in people[0].acted.items()} == {
        "happy": "1001_DFA_HAP_XX.flv"
    }


def test_labels_tell_people_and_emotions(tmp_path):
    touch(tmp_path, "x.mp4", "y.mp4")
    rows = "path,speaker,sentence,emotion\nx.mp4,bea,s,happy\ny.mp4,bea,s,neutral\n"
    (tmp_path / "labels.csv").write_text(rows)
    [bea] = find_people(tmp_path)
    assert (bea.person, bea.path.name, list(bea.acted)) == ("bea", "y.mp4", ["happy"])


@pytest.mark.parametrize(
    "words, parts",
    [
        (["{}/none"], ["none", "no such folder"]),
        (["{}/empty"], ["empty", "no video", ".mp4"]),
        (["{}/acted"], ["1001", "no neutral clip", "add one"]),
        (["{}/clips", "--emotions", "happy,bored"], ["bored", "accepted are", "surprised"]),
        (["{}/clips", "--emotions", "neutral"], ["neutral", "accepted are"]),
        (["{}/clips", "--editor", "magic"], ["magic", "actions, actions_plain, image, copy"]),
        (["{}/clips", "--editor", "copy", "--studio", "9"], ["--studio 9", "1 to 8"]),
        (["{}/clips", "--edits", "{}/none"], ["none", "no such folder", "EMOTION/CLIP.mp4"]),
        (["{}/clips", "--edits", "{}/edits"], ["clip.mp4", "no such edit", "cdrl edit"]),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_line(tmp_path, capsys, words, parts):
    touch(tmp_path, "clips/clip.mp4", "acted/1001_DFA_HAP_XX.flv", "edits/readme.txt")
    (tmp_path / "empty").mkdir()
    words = [word.format(tmp_path) for word in words]
    out = ["--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    assert main(["evaluate", *words, *out]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    for part in parts:
        assert part in lines[0]
    assert not (tmp_path / "out").exists()


def test_a_copy_scores_nothing_and_is_not_read_twice(tmp_path, monkeypatch):
    [subject] = studio_subjects(1)
    footage = subject.read()
    short = Footage(footage.frames[:12], footage.alignment.part(0, 12), footage.frame_rate)
    subject = replace(subject, read=lambda: short)
    run = RealRun(Work(tmp_path, "studio"), [subject], ["happy", "sad"])
    copy = EditSource("copy")
    assert run.missing([copy]) == 1
    edits = list(run.edits(copy))
    assert run.missing([copy]) == 0

    scores = flatten_scores(estimate_real_scores("studio.copy", edits))
    assert abs(scores["studio.copy.all.rise"]) < 0.05
    assert scores["studio.copy.all.identity"] == pytest.approx(
        scores["studio.copy.all.identity.two_frames"], abs=0.02
    )
    assert scores["studio.copy.all.opening_correlation"] > 0.95
    for name in ("brow_inner", "lids", "mouth_width"):
        assert abs(scores[f"studio.copy.all.{name}"]) < 0.01

    def refuse(subject):
        raise AssertionError("a source was read again")

    monkeypatch.setattr(run, "footage", refuse)
    assert len(list(run.edits(copy))) == 2
    assert len(list(tmp_path.rglob("*.mp4"))) == 2
