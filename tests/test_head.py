"""The head pack: what is in it, what holds still, and what moves."""

import numpy as np
import pytest

from cdrl.core.errors import InputError
from cdrl.core.vocabulary import ACTIONS
from cdrl.studio.head import LANDMARKS, PARTS, load_head, pack_path
from cdrl.studio.people import HAIR_STYLES, LIMIT, person_vertices, sample_person, sample_scene


@pytest.fixture(scope="module")
def head():
    return load_head()


def test_pack_is_small_and_its_licence_lies_beside_it():
    assert pack_path().stat().st_size < 1_500_000
    licence = (pack_path().parent / "README.md").read_text()
    assert "CC0 1.0" in licence and "MakeHuman" in licence and "Mika Suominen" in licence


def test_actions_are_the_52_of_the_vocabulary_in_its_order(head):
    assert head.actions.names == ACTIONS
    assert (np.diff(head.actions.offsets) > 0).all()


def test_every_part_has_vertices_and_every_triangle_is_in_range(head):
    assert set(head.part) == set(range(len(PARTS)))
    assert 0 <= head.triangles.min() and head.triangles.max() < len(head.vertices)


@pytest.mark.parametrize("modes", ["actions", "identity"])
def test_upper_skull_has_no_rigid_motion_left_in_any_mode(head, modes):
    """Kabsch on the skull under a full-weight mode finds no turn above 0.1 degree and no shift above 0.1 mm."""
    modes = getattr(head, modes)
    rest = head.vertices[head.skull].astype(np.float64)
    rest_centred = rest - rest.mean(0)
    for name in modes.names:
        moved = rest + modes.displacement({name: 1.0}, len(head.vertices))[head.skull]
        assert np.abs(moved.mean(0) - rest.mean(0)).max() < 1e-3, name
        u, _, vt = np.linalg.svd((moved - moved.mean(0)).T @ rest_centred)
        angle = np.degrees(np.arccos(np.clip((np.trace(u @ vt) - 1) / 2, -1, 1)))
        assert angle < 0.1, name


def test_jaw_drops_while_the_upper_skull_stays(head):
    moved = head.actions.displacement({"jawOpen": 1.0}, len(head.vertices))
    assert np.abs(moved[head.skull]).max() < 0.002
    assert moved[head.landmarks[LANDMARKS.index("chin")], 1] < -0.15


def test_modes_add_up_linearly_and_no_mode_is_no_motion(head):
    both = head.actions.displacement({"jawOpen": 0.5, "mouthPucker": 0.25}, len(head.vertices))
    one, other = (
        head.actions.displacement({name: 1.0}, len(head.vertices)) for name in ("jawOpen", "mouthPucker")
    )
    np.testing.assert_allclose(both, 0.5 * one + 0.25 * other, atol=1e-6)
    assert not head.actions.displacement({}, len(head.vertices)).any()


def test_landmarks_lie_where_their_names_say(head):
    at = dict(zip(LANDMARKS, head.vertices[head.landmarks], strict=True))
    assert len(set(head.landmarks)) == len(LANDMARKS)
    for name, point in at.items():
        if "left" in name:  # the subject's left is +x, and the mesh is symmetric
            mirrored = at[name.replace("left", "right")] * (-1, 1, 1)
            assert point[0] > 0
            np.testing.assert_allclose(point, mirrored, atol=0.01)
    column = [
        "nose_bridge",
        "nose_tip",
        "upper_lip_outer",
        "upper_lip_inner",
        "lower_lip_inner",
        "lower_lip_outer",
        "chin",
    ]
    assert (np.diff([at[name][1] for name in column]) < 0).all()
    assert at["left_brow_middle"][1] > at["left_eye_outer"][1] + 0.1
    assert max(point[2] for point in at.values()) == at["nose_tip"][2]


def test_missing_pack_says_how_to_get_it(tmp_path):
    with pytest.raises(InputError, match=r"no head at .*scripts/build_head_pack.py"):
        load_head(tmp_path / "head.npz")


def test_a_person_is_the_same_for_ever_and_unlike_the_next():
    assert sample_person(7) == sample_person.__wrapped__(7)
    assert (
        np.abs(person_vertices(sample_person(7)) - person_vertices(sample_person(8))).max() > 0.03
    )


def test_two_hundred_people_are_pairwise_different_and_varied():
    people = [sample_person(number) for number in range(200)]
    looks = np.array([[*p.skin, *p.hair, *p.iris, p.brow_width, p.age, p.weight] for p in people])
    apart = np.linalg.norm(looks[:, None] - looks[None], axis=2) + 9 * np.eye(200)
    assert apart.min() > 0.05
    assert {p.hair_style for p in people} == set(HAIR_STYLES)
    assert {p.sex for p in people} == {"female", "male"}
    skin = looks[:, :3].mean(1)
    assert skin.min() < 0.3 and skin.max() > 0.7
    assert max(abs(weight) for p in people for _, weight in p.shape) <= LIMIT


def test_negative_person_is_refused():
    with pytest.raises(InputError, match="person -1: person numbers are 0 or more"):
        sample_person(-1)


def test_scenes_follow_from_their_seed_and_differ():
    assert sample_scene(3) == sample_scene(3) != sample_scene(4)
    for seed in range(20):
        assert abs(np.linalg.norm(sample_scene(seed).key_direction) - 1) < 1e-9
