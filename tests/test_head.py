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


@pytest.fixture(scope="module")
def people():
    return [sample_person(number) for number in range(200)]


def test_pack_is_small_and_its_licence_lies_beside_it():
    assert pack_path().stat().st_size < 1_500_000
    licence = (pack_path().parent / "README.md").read_text()
    assert "CC0 1.0" in licence
    assert "MakeHuman" in licence
    assert "Mika Suominen" in licence


def test_actions_are_the_52_of_the_vocabulary_in_its_order(head):
    assert head.actions.names == ACTIONS
    assert (np.diff(head.actions.offsets) > 0).all()


def test_every_part_has_vertices_and_every_triangle_is_in_range(head):
    assert set(head.part) == set(range(len(PARTS)))
    assert head.triangles.min() >= 0
    assert head.triangles.max() < len(head.vertices)


@pytest.mark.parametrize("kind", ["actions", "identity"])
def test_upper_skull_has_no_rigid_motion_left_in_any_shape(head, kind):
    """Kabsch on the skull under a full shape: no turn above 0.1 degree, no shift above 0.1 mm."""
    shapes = getattr(head, kind)
    rest = head.vertices[head.skull].astype(np.float64)
    rest_centred = rest - rest.mean(0)
    for name in shapes.names:
        displacement = shapes.displacement({name: 1.0}, len(head.vertices))
        moved = rest + displacement[head.skull]
        shift = moved.mean(0) - rest.mean(0)
        assert np.abs(shift).max() < 1e-3, name
        u, _, vt = np.linalg.svd((moved - moved.mean(0)).T @ rest_centred)
        cosine = (np.trace(u @ vt) - 1) / 2
        angle = np.degrees(np.arccos(np.clip(cosine, -1, 1)))
        assert angle < 0.1, name


def test_jaw_drops_while_the_upper_skull_stays(head):
    displacement = head.actions.displacement({"jawOpen": 1.0}, len(head.vertices))
    assert np.abs(displacement[head.skull]).max() < 0.002
    chin = head.landmarks[LANDMARKS.index("chin")]
    assert displacement[chin, 1] < -0.15


def test_shapes_add_up_linearly_and_no_shape_is_no_motion(head):
    num_vertices = len(head.vertices)
    both = head.actions.displacement({"jawOpen": 0.5, "mouthPucker": 0.25}, num_vertices)
    jaw = head.actions.displacement({"jawOpen": 1.0}, num_vertices)
    pucker = head.actions.displacement({"mouthPucker": 1.0}, num_vertices)
    np.testing.assert_allclose(both, 0.5 * jaw + 0.25 * pucker, atol=1e-6)
    assert not head.actions.displacement({}, num_vertices).any()


@pytest.fixture(scope="module")
def landmarks(head):
    """Name -> position (3,) on the average head."""
    return dict(zip(LANDMARKS, head.vertices[head.landmarks], strict=True))


def test_landmarks_are_pairs_of_mirrored_points(head, landmarks):
    assert len(set(head.landmarks)) == len(LANDMARKS)
    for name, point in landmarks.items():
        if "left" in name:  # the subject's left is +x, and the mesh is symmetric
            assert point[0] > 0
            mirrored = landmarks[name.replace("left", "right")] * (-1, 1, 1)
            np.testing.assert_allclose(point, mirrored, atol=0.01)


def test_landmarks_lie_where_their_names_say(landmarks):
    from_top = [
        "nose_bridge",
        "nose_tip",
        "upper_lip_outer",
        "upper_lip_inner",
        "lower_lip_inner",
        "lower_lip_outer",
        "chin",
    ]
    heights = [landmarks[name][1] for name in from_top]
    assert (np.diff(heights) < 0).all()
    assert landmarks["left_brow_middle"][1] > landmarks["left_eye_outer"][1] + 0.1
    depths = [point[2] for point in landmarks.values()]
    assert max(depths) == landmarks["nose_tip"][2]


def test_missing_pack_says_how_to_get_it(tmp_path):
    with pytest.raises(InputError, match=r"no head at .*scripts/build_head_pack.py"):
        load_head(tmp_path / "head.npz")


def test_the_pack_is_looked_for_in_the_data_folder_at_use(monkeypatch, tmp_path):
    monkeypatch.setenv("CDRL_DATA", str(tmp_path))
    assert pack_path() == tmp_path / "head" / "head.npz"


def test_a_person_is_the_same_for_ever_and_unlike_the_next():
    assert sample_person(7) == sample_person.__wrapped__(7)
    difference = person_vertices(sample_person(7)) - person_vertices(sample_person(8))
    assert np.abs(difference).max() > 0.03


def test_two_hundred_people_are_pairwise_different(people):
    looks = []
    for person in people:
        colours = [*person.skin, *person.hair, *person.iris]
        looks.append([*colours, person.brow_width, person.age, person.weight])
    looks = np.array(looks)
    distances = np.linalg.norm(looks[:, None] - looks[None], axis=2)
    assert (distances + 9 * np.eye(200)).min() > 0.05


def test_two_hundred_people_are_varied(people):
    assert {person.hair_style for person in people} == set(HAIR_STYLES)
    assert {person.sex for person in people} == {"female", "male"}
    skin = np.array([person.skin for person in people]).mean(1)
    assert skin.min() < 0.3
    assert skin.max() > 0.7
    for person in people:
        weights = [weight for _, weight in person.shape]
        assert np.abs(weights).max() <= LIMIT


def test_negative_person_is_refused():
    with pytest.raises(InputError, match="person -1: person numbers are 0 or more"):
        sample_person(-1)


def test_scenes_follow_from_their_seed_and_differ():
    assert sample_scene(3) == sample_scene(3)
    assert sample_scene(3) != sample_scene(4)
    for seed in range(20):
        length = np.linalg.norm(sample_scene(seed).key_direction)
        assert length == pytest.approx(1, abs=1e-9)
