"""The tables of limits and growth, from measurements that are easy to judge."""

from __future__ import annotations

import limits
import pytest
from arithmetic import Decoding, Training
from growth import SERIES, flops, per_word, row
from sections import PAGE, replaced
from vs_trl import SIZES


def test_a_section_is_replaced_between_its_marks():
    page = "a\n<!-- x -->\nold\n<!-- end x -->\nb\n"
    assert replaced(page, "x", "new\n") == "a\n<!-- x -->\nnew\n<!-- end x -->\nb\n"
    with pytest.raises(ValueError, match="one section"):
        replaced(page, "y", "new\n")


@pytest.mark.parametrize("name", ["limits", "growth"])
def test_the_page_has_a_place_for_both(name: str):
    assert "new" in replaced(PAGE.read_text(encoding="utf-8"), name, "new")


def test_a_step_at_half_of_the_ceiling():
    work = limits.work_of("A", "dpo")
    dense = work.flops - work.attention
    ceiling = {"training": {"A": {"dpo": 2.0 * work.flops}}}
    cells = limits.training_line(
        {"model": "A", "work": "dpo", "seconds": [1.0, 1.0], "dense": dense}, ceiling
    )
    assert cells[-2:] == ["50%", "50%"]


def test_decoding_is_compared_with_the_faster_cache_and_the_floor():
    work = Decoding(SIZES["A"], 64, 1, limits.LENGTH, limits.NEW)
    # At one FLOP/s and an endless bandwidth the floor is as many seconds as there are FLOPs.
    total = work.first_flops + sum(map(work.step_flops, work.contexts))
    rates = {"first": 1.0, "next": 1.0, "bandwidth": 1e30}
    seconds = {"ours": [4.0 * total], "dynamic": [16.0 * total], "static": [12.0 * total]}
    cells = limits.decoding_line(
        {"model": "A", "prompts": 64, "per_prompt": 1, "seconds": seconds},
        {"decoding": {"A": [rates]}},
    )
    assert cells[4:6] == ["static", "3.00 (3.00 to 3.00)"]
    assert cells[-2:] == ["FLOPs", "25%"]


def test_a_series_that_grows_with_the_square_does_not_hold():
    points = [
        {"value": v, "x": v, "seconds": v**2, "cpu": v**2, "peak": 100 + v, "idle": 100}
        for v in SERIES["pairs"].values
    ]
    cells = row("pairs", {"clock": "wall", "series": {"pairs": points}})
    assert cells[3] == "2.00 (2.00 to 2.00)"
    assert cells[5:7] == ["1.00", "no"]
    assert cells[10:] == ["0", "no"]


def test_what_a_word_of_the_vocabulary_costs():
    # Its two rows of 128 weights are 1,024 bytes; seven times that is 7 MB more for 1,024 words.
    points = [
        {"value": v, "x": v, "peak": 300 + 7 * v / 1024, "idle": 250}
        for v in SERIES["vocabulary"].values
    ]
    said = per_word({"series": {"vocabulary": points}})
    assert "at 8 pairs a step 7,168 bytes, 7.0 times its two rows" in said
    # 8 pairs have 512 completion tokens, each with a logit of 4 bytes for that word.
    assert "would add 2,048" in said


def test_flops_of_the_series():
    assert flops(SERIES["pairs"], 64) == 2 * flops(SERIES["pairs"], 32)
    small = Training(SIZES["A"], 8, 32, 32, forwards=1).flops
    assert flops(SERIES["pairs"], 8) == small
    # RLOO: the reference passes once, the policy learns (three passes), and writes all that.
    learnt = Training(SIZES["A"], 8, 32, 32, per_prompt=4, forwards=1).flops
    assert 1.2 * learnt < flops(SERIES["completions"], 32) < 1.3 * learnt
