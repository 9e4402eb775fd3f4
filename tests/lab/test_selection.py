"""Which setting is taken: by its worth, as far as the scorer can see."""

from __future__ import annotations

from allroads.lab.selection import preference, worth


def best(settings: dict[str, tuple[float, float]], reach: float | None) -> str:
    """Of (score, KL) by name."""
    return max(
        settings, key=lambda name: preference(worth(*settings[name]), settings[name][1], reach)
    )


def test_a_nat_costs_its_price():
    assert worth(1.0, 2.0) == 1.0 - 0.6
    assert worth(1.0, -0.1) == 1.0  # An estimate below zero is none.


def test_beyond_its_reach_no_score_is_believed():
    settings = {"near": (0.2, 0.5), "far": (9.0, 3.0)}
    assert best(settings, None) == "far"
    assert best(settings, 3.0) == "far"
    assert best(settings, 2.9) == "near"


def test_where_all_are_beyond_it_the_nearest_is_taken():
    assert best({"far": (9.0, 3.0), "farther": (99.0, 4.0)}, 1.0) == "far"
    assert best({"far": (0.0, 3.0), "start": (0.0, 0.0)}, 1.0) == "start"
