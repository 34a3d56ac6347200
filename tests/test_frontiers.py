"""Frontiers of emotion against the mouth's error: drawn by hand, and with a known difference."""

import numpy as np
import pytest

from cdrl.evaluation.frontiers import (
    Crossing,
    Frontier,
    chosen_settings,
    compare_frontiers,
    frontier_differences,
    frontier_of,
    measured_frontier,
)

PEOPLE, CLIPS, SEEDS = 12, 4, 3
ACCURACIES = (0.2, 0.4, 0.6, 0.8)


def curve(shift=0.0, accuracies=ACCURACIES):
    """A frontier whose error rises from .3 by .1 for each .2 of accuracy, shifted down."""
    accuracy = np.array(accuracies)
    return Frontier(accuracy, 0.2 + accuracy / 2 - shift, np.arange(len(accuracy)))


def edits(accuracy, error, of_people=None):
    """Statistics of edits with an accuracy and an error, of all people and training seeds.

    `of_people` (P,) is added to the error of each person.
    """
    turns = np.arange(CLIPS * SEEDS) % 10 < round(10 * accuracy)
    hits = np.tile(turns.astype(float), PEOPLE)
    added = np.zeros(PEOPLE) if of_people is None else of_people
    errors = np.repeat(error + added, CLIPS * SEEDS)

    ones = np.ones(len(hits))
    one_curve = np.stack([ones, errors**2, 0 * ones, ones], 1)
    return {
        "emotion_accuracy": np.stack([hits, hits, ones], 1),
        "mouth_motion_error": np.tile(one_curve, 3),
    }


def settings(shift=0.0, of_people=None):
    """Four settings whose error rises with their accuracy, shifted down."""
    return [edits(accuracy, 0.2 + accuracy / 2 - shift, of_people) for accuracy in ACCURACIES]


PERSON = np.repeat(np.arange(PEOPLE), CLIPS * SEEDS)
SEED = np.tile(np.repeat(np.arange(SEEDS), CLIPS), PEOPLE)
ERROR = "x.mouth_motion_error.at_equal_emotion"
EMOTION = "x.emotion_accuracy.at_equal_motion_error"


def test_a_setting_that_another_one_beats_in_both_is_on_no_frontier():
    accuracy = np.array([0.1, 0.5, 0.5, 0.7, 0.6])
    error = np.array([0.4, 0.3, 0.35, 0.5, 0.6])
    frontier = frontier_of(accuracy, error)
    assert frontier.settings.tolist() == [1, 3]
    assert (np.diff(frontier.accuracy) > 0).all() and (np.diff(frontier.error) > 0).all()


def test_lines_between_neighbours_are_straight():
    frontier = curve()
    assert frontier.error_at(np.array([0.3])) == pytest.approx(0.35)
    assert frontier.accuracy_at(np.array([0.35])) == pytest.approx(0.3)


def test_two_frontiers_differ_by_their_shift():
    found = frontier_differences(curve(0.1), curve())
    assert found["error"] == pytest.approx(-0.1)
    assert found["area"] == pytest.approx(-0.1 * 0.6)
    # Errors .2 to .5 and .3 to .6 share .3 to .5; the slope is .5, so .1 of error is .2.
    assert found["accuracy"] == pytest.approx(0.2)
    assert found["accuracy_share"] == pytest.approx(1)
    assert found["error_share"] == pytest.approx(2 / 3)


def test_frontiers_that_share_little_say_how_little():
    low = curve(accuracies=(0.2, 0.4, 0.5))
    high = curve(accuracies=(0.4, 0.6, 0.9))
    found = frontier_differences(low, high)
    assert found["accuracy_share"] == pytest.approx(0.1 / 0.5)
    assert found["error"] == pytest.approx(0)
    apart = frontier_differences(low, curve(accuracies=(0.6, 0.9)))
    assert np.isnan(apart["error"]) and np.isnan(apart["area"])
    assert apart["accuracy_share"] == 0


def test_a_variant_against_itself_shows_no_difference():
    found = compare_frontiers("x", settings(), settings(), PERSON, SEED)
    for name in (ERROR, EMOTION, "x.mouth_motion_error.area"):
        assert found[name].value == found[name].low == found[name].high == 0
        assert found[name].details["verdict"] == 1


def test_a_known_difference_is_found_with_its_interval_over_people():
    of_people = 0.02 * np.random.default_rng(0).standard_normal(PEOPLE)
    found = compare_frontiers("x", settings(0.1, of_people), settings(), PERSON, SEED)
    error = found[ERROR]
    assert error.value == pytest.approx(-0.1, abs=0.02)
    assert error.low < error.value < error.high < 0
    assert error.n == PEOPLE
    assert error.details["confidence"] == 0.975
    assert found[EMOTION].value > 0.1

    narrower = compare_frontiers(
        "x", settings(0.1, of_people), settings(), PERSON, SEED, confidence=0.8
    )
    assert narrower[ERROR].high < error.high


def test_frontiers_that_share_less_than_half_of_either_give_no_verdict():
    low = settings()[:3]
    high = [edits(accuracy, 0.2 + accuracy / 2) for accuracy in (0.5, 0.7, 0.9)]
    found = compare_frontiers("x", low, high, PERSON)
    assert found[ERROR].details["shared"] == pytest.approx(0.25, abs=0.15)
    assert found[ERROR].details["verdict"] == 0


def test_people_and_seeds_are_crossed():
    crossing = Crossing.of(PERSON, SEED)
    assert (crossing.num_people, crossing.num_seeds) == (PEOPLE, SEEDS)
    people = crossing.draw_people(0)
    assert people.shape[1] == PEOPLE * SEEDS
    of_first_person = people[:, crossing.person == 0]
    assert (of_first_person == of_first_person[:, :1]).all()
    seeds = crossing.draw_seeds(0)
    of_first_seed = seeds[:, crossing.training == 0]
    assert (of_first_seed == of_first_seed[:, :1]).all()
    assert Crossing.of(PERSON, None).num_seeds == 1


def test_what_is_chosen_lies_on_the_frontier_and_nothing_done_is_no_setting():
    good = {0.0: edits(0.0, 0.05), 0.5: edits(0.4, 0.3), 1.0: edits(0.6, 0.5)}
    bad = {0.0: edits(0.0, 0.05), 0.5: edits(0.3, 0.4), 1.0: edits(0.8, 0.6)}
    chosen = chosen_settings({"good": good, "bad": bad})
    assert chosen == {"good": [0.5, 1.0], "bad": [1.0]}
    measured = measured_frontier([good[0.5], bad[0.5]])
    assert measured.settings.tolist() == [0]
