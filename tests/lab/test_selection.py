"""Which setting is taken: by its score, as far as the scorer can see."""

from __future__ import annotations

import pytest

from allroads.lab.selection import preference, worth


def best(settings: dict[str, tuple[float, float]], entropy: float | None) -> str:
    """Of (score, KL) by name."""
    return max(settings, key=lambda name: preference(*settings[name], entropy))


def test_beyond_a_fifth_of_the_start_policys_entropy_no_score_is_believed():
    settings = {"near": (0.2, 0.5), "far": (9.0, 3.0)}
    assert best(settings, 15.1) == "far"
    assert best(settings, 14.9) == "near"


def test_within_it_distance_costs_nothing():
    assert best({"near": (0.2, 0.5), "far": (0.3, 17.0)}, 90.0) == "far"


def test_where_all_are_beyond_it_the_nearest_is_taken():
    assert best({"far": (9.0, 3.0), "farther": (99.0, 4.0)}, 1.0) == "far"
    assert best({"far": (0.0, 3.0), "start": (0.0, 0.0)}, 1.0) == "start"


def test_a_run_that_kept_no_entropy_is_selected_as_the_studies_were():
    assert best({"near": (0.2, 0.0), "far": (1.0, 3.0)}, None) == "near"
    assert best({"near": (0.2, 0.0), "far": (1.0, 2.0)}, None) == "far"


def test_a_nat_costs_its_price_in_the_registered_studies():
    assert worth(1.0, 2.0) == pytest.approx(0.4)
    assert worth(1.0, -0.1) == 1.0  # An estimate below zero is none.
