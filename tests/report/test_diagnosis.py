"""The page of a diagnosis: the advice first, evidence true to its numbers, absence said plainly."""

from __future__ import annotations

import functools
import itertools
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from allroads.diagnoses import Curve, CurvePoint, Diagnosis, Reason
from allroads.evidence import Trial
from allroads.records import Mean
from allroads.report import (
    diagnosis,
    diagnosis_answers,
    diagnosis_curves,
    diagnosis_figures,
    diagnosis_tables,
    diagnosis_words,
)
from allroads.report.diagnosis_text import text_of

from . import browser
from . import diagnosis_example as example
from .test_page import Outline
from .test_study import places, seen_by

SECTIONS = [
    "verdict", "roads", "curves", "capacities", "code", "headroom", "coverage", "noise", "horizon",
    "prediction", "missing", "costs", "rerun",
]  # fmt: skip
VARIANTS = ("diagnosis", "nothing_learned", "bare", "hostile")
"""Drawn as whole pages; what else may be missing is asked of the parts."""


@functools.cache
def page_of(variant: str) -> str:
    return diagnosis.render(getattr(example, variant)())


@functools.cache
def outline_of(variant: str) -> Outline:
    return Outline(page_of(variant))


def plain(text: str) -> str:
    return " ".join(text.split())


def said_on(variant: str) -> str:
    return plain("".join(outline_of(variant).words))


def group(svg: str, name: str) -> str:
    """What is drawn under an id that ends with `name`."""
    (found,) = (g for g in ElementTree.fromstring(svg).iter("g") if g.get("id", "").endswith(name))
    return ElementTree.tostring(found, encoding="unicode")


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_page_is_whole_and_asks_for_nothing(variant: str):
    elements = outline_of(variant).elements
    assert [a["id"] for tag, a in elements if tag == "section"] == SECTIONS
    ids = [a["id"] for _, a in elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert [tag for tag, _ in elements].count("h1") == 1
    links = {a["href"] for tag, a in elements if tag == "a"}
    assert {f"#{name}" for name in SECTIONS} <= links <= {f"#{name}" for name in ids}
    assert not {tag for tag, _ in elements} & {"script", "img", "iframe", "object"}
    assert not re.search(r"https?://|@import|url\((?!#)", page_of(variant))
    for tag, attributes in elements:
        assert not [name for name in attributes if name.startswith("on")], tag
    labels = [a["aria-label"] or "" for tag, a in elements if tag == "svg" and "aria-label" in a]
    assert len(labels) == page_of(variant).count('<div class="plot">')
    assert not re.search(r"\b(nan|inf|None|NaN)\b", said_on(variant) + " ".join(labels))


def test_the_advice_comes_first():
    page = page_of("diagnosis")
    assert page.index('id="verdict"') < page.index("<table")
    assert 'class="band decided"' in page
    assert 'class="band undecided"' in page_of("nothing_learned")
    given = re.findall(r'aria-current="true">([^<]*)<', page)
    assert given == ["two-stage online RL is expected to gain"]
    verdicts = re.search(r'<ul class="verdicts".*?</ul>', page, re.DOTALL)
    assert verdicts is not None
    assert verdicts[0].count("<li") == 5
    said = said_on("diagnosis")
    order = ["Two-stage online RL is expected to gain +0.12", "+0.121 (+0.048 to +0.194), 90 %",
             "above zero with probability 99 %", "Why", "What would change it", "The next step",
             "The roads"]  # fmt: skip
    spots = [said.index(words) for words in order]
    assert spots == sorted(spots)


def test_gains_stand_on_one_line_with_offline_likelihood():
    picture = diagnosis_figures.gains(example.diagnosis())
    assert picture is not None
    svg = str(picture.svg)
    # As the table of roads has them: best-of-n 0.058 to 0.118, online-dpo 0.048 to 0.194.
    (zero,), (best, online) = places(svg, "zero"), places(svg, "bar")
    unit = (max(online) - min(online)) / 0.146
    assert (min(online) - zero[0]) / unit == pytest.approx(0.048, abs=1e-3)
    assert [(x - zero[0]) / unit for x in sorted(best)] == pytest.approx([0.058, 0.118], abs=1e-3)
    words = "".join(Outline(svg).words)
    assert "← offline is better" in words
    assert "better than offline →" in words
    assert diagnosis_figures.gains(example.nothing_learned()) is None


def test_reasons_lead_to_what_shows_them():
    reasons = re.findall(r'<li><a href="(#[^"]*)"><bdi>([^<]*)', page_of("diagnosis"))
    assert [target for target, _ in reasons] == ["#fig-code", "#fig-headroom", "#fig-coverage"]
    # Nothing is drawn of the code there, so that its section has to do; an unknown name leads
    # nowhere.
    reason = Reason(words="w", evidence="code")
    bare = example.bare().model_copy(
        update={
            "code": example.nothing_learned().code,
            "reasons": (reason, reason.model_copy(update={"evidence": "elsewhere"})),
        }
    )
    page = diagnosis.render(bare)
    assert '<li><a href="#code"><bdi>w</bdi></a></li>' in page
    assert "<li><bdi>w</bdi></li>" in page


def test_what_was_not_learned_is_never_called_no_gap():
    said = said_on("nothing_learned")
    # The prediction at the top and where it is explained; the curves and the code.
    assert said.count("not predicted: neither learner has learned these labels") == 2
    assert said.count("Not learned: neither the verifier nor the generator") == 2
    assert "verifier (not learned)" in said
    assert "generator, not learned" in said
    assert not re.search(r"no (generation-verification )?gap", said, re.IGNORECASE)
    assert "misfit" not in re.sub(r"The words:.*?nats per completion", "", said)
    assert 'id="fig-code"' not in page_of("nothing_learned")
    assert 'id="fig-gains"' not in page_of("nothing_learned")
    assert said.count("not known") == 3
    text = text_of(example.nothing_learned())
    assert "neither learner has learned these labels" in text
    assert "gap" not in text


def test_one_learner_that_has_not_learned_is_named():
    curves = example.diagnosis().curves
    half = (curves[0], curves[1].model_copy(update={"learned": False}))
    said = diagnosis_words.curves(example.diagnosis(curves=half))
    assert said.startswith("Not learned by the generator")
    assert "4.6 (3.3 to 5.9) times as many" in plain(said)


def ladder() -> Curve:
    """Pairs double twice; bits fall by 0.1 and then 0.2, then by 0.1 in what is extrapolated."""
    points = [
        CurvePoint(
            count=count,
            nll=Mean(value=value, low=value - 0.05, high=value + 0.05, seeds=5),
            accuracy=Mean(value=0.6, low=0.58, high=0.62, seeds=5),
            calibration=Mean(value=0.1, seeds=5),
            extrapolated=count > 400,
        )
        for count, value in ((100, 1.0), (200, 0.9), (400, 0.7), (800, 0.6))
    ]
    limit = Mean(value=0.55, low=0.45, high=0.65, seeds=5)
    return Curve(learner="verifier", points=tuple(points), limit=limit, learned=True)


def ends(svg: str, name: str) -> list[tuple[float, float, float]]:
    """(horizontal place, upper end, lower end) of each bar of a line."""
    drawn = re.findall(r"M ([\d.]+) ([\d.]+) L ([\d.]+) ([\d.]+)", group(svg, f"{name}-bars"))
    return [(float(x), min(float(a), float(b)), max(float(a), float(b))) for x, a, _, b in drawn]


def test_curves_stand_where_their_numbers_are_and_extrapolation_is_told_apart():
    picture = diagnosis_curves.curves((ladder(),))
    assert picture is not None
    svg = str(picture.svg)
    known, further = ends(svg, "measured-verifier"), ends(svg, "further-verifier")
    assert len(known) == 3
    assert len(further) == 2
    xs = [x for x, _, _ in (*known, *further)]
    # A doubling is one step: 100, 200, 400, 800, and one step further what endless data leaves.
    steps = [b - a for a, b in itertools.pairwise(xs)]
    assert steps == pytest.approx([steps[0]] * 4, abs=0.02)
    unit = (known[0][2] - known[0][1]) / 0.1
    assert (known[0][2] - known[0][1], further[1][2] - further[1][1]) == pytest.approx(
        (0.1 * unit, 0.2 * unit), rel=1e-3
    )
    middles = [(low + high) / 2 for _, low, high in (*known, *further)]
    falls = [(b - a) / unit for a, b in itertools.pairwise(middles)]
    assert falls == pytest.approx([0.1, 0.2, 0.1, 0.05], abs=1e-3)
    assert "var(--paper)" in group(svg, "further-verifier-points")
    assert "var(--paper)" not in group(svg, "measured-verifier-points")
    assert len(ends(svg, "right-verifier")) == 3
    cells = [[cell.text for cell in row] for row in picture.table.rows]
    assert [row[2] for row in cells] == ["measured"] * 3 + ["extrapolated", "limit"]
    assert [row[4] for row in cells[2:]] == ["60.0\N{NO-BREAK SPACE}%", "–", "–"]
    assert any("extrapolated" in key.name for key in picture.keys)
    assert diagnosis_curves.curves(()) is None


def test_capacities_are_seen_against_a_coin():
    row = example.diagnosis().capacities[0]
    nll = Mean(value=0.75, low=0.7, high=0.8, seeds=5)
    picture = diagnosis_curves.capacities([row.model_copy(update={"nll": nll})])
    assert picture is not None
    (bar,), (coin,) = places(str(picture.svg), "bar"), places(str(picture.svg), "zero")
    unit = (max(bar) - min(bar)) / 0.1
    assert 0.7 + (coin[0] - min(bar)) / unit == pytest.approx(1.0, abs=1e-3)
    assert diagnosis_curves.capacities([]) is None


def test_the_gap_is_what_misfit_leaves_of_the_difference():
    # 3000 pairs times (0.63 - 0.55) bits of the limits are 240 bits of misfit.
    said = diagnosis_words.code(example.diagnosis())
    assert "Of it, +240 (" in plain(said)
    assert said.endswith("the cost of learning: the generation-verification gap.")
    rows = {row[0].text: row[1].text for row in diagnosis_tables.of_code(example.code()).rows}
    difference, misfit, learning = (
        float(rows[name].removeprefix("+"))
        for name in ("difference", "misfit", "cost of learning: the gap")
    )
    assert difference == pytest.approx(misfit + learning, abs=1)
    blocks = [float(v.lstrip("+")) for name, v in rows.items() if name.startswith("the block")]
    assert sum(blocks) == pytest.approx(difference, abs=2)
    assert diagnosis_curves.code(example.nothing_learned().code) is None


def test_an_untrusted_grader_decides_nothing():
    found = example.untrusted().headroom
    picture, trusted = (diagnosis_answers.headroom(h) for h in (found, example.headroom()))
    assert picture is not None
    assert trusted is not None
    assert "not trusted" in diagnosis_words.headroom(found)
    assert "52.0 % (47.0 to 57.0)" in plain(diagnosis_words.headroom(found))
    assert "52.0 %" in diagnosis_words.headroom(found)
    assert "not trusted" in picture.reading
    # The panels over the start and over offline rest on the grader; what the learner thinks of
    # itself does not.
    for panel, hollow in (("start", True), ("offline", True), ("own", False)):
        name = f"verifier-{panel}-points"
        assert ("var(--paper)" in group(str(picture.svg), name)) is hollow
        assert "var(--paper)" not in group(str(trusted.svg), name)
    assert str(trusted.svg).count('id="headroom-bend-') == 3
    assert 'id="headroom-bend-' not in str(picture.svg)
    assert "falls again after N = 16" in plain(diagnosis_words.headroom(example.headroom()))
    assert "does not fall up to N = 64" in plain(diagnosis_words.headroom(found))


def test_the_page_says_which_offline_policy_is_compared_with():
    tried = [
        Trial(rate=rate, beta=beta, fraction=fraction, kl=1.0, score=0.2, chosen=chosen)
        for rate, beta, fraction, chosen in ((1.0, 1.0, 1.0, False), (0.3, 0.2, 0.5, True))
    ]
    found = example.headroom().model_copy(update={"offline_trials": tuple(tried)})
    said = plain(diagnosis_words.headroom(found))
    assert (
        "The offline policy (DPO at beta = 0.2 and 0.3 of the recipe's learning rate after 50% of "
        "its training, chosen among 2 settings by the independent reward model) gains" in said
    )
    assert "The offline policy gains" in plain(diagnosis_words.headroom(example.headroom()))


def test_what_is_missing_has_a_sentence_in_its_place():
    without = example.no_offline()
    assert "There is no offline policy" in diagnosis_words.headroom(without.headroom)
    picture = diagnosis_answers.headroom(without.headroom)
    assert picture is not None
    assert "gain over the offline policy" not in "".join(Outline(str(picture.svg)).words)
    assert "offline policy" not in " ".join(key.name for key in picture.keys)
    real = example.real()
    assert "the labels' ceiling is not known" in diagnosis_words.noise(real.noise)
    assert "61.0 %" in diagnosis_words.noise(real.noise)
    assert "beyond what can be extrapolated" in diagnosis_words.curves(real)
    assert "independent reward model" in diagnosis_words.headroom(real.headroom)
    said = said_on("bare")
    for words in (
        "Headroom was not measured",
        "Other capacities were not tried",
        "No road was estimated",
        "How early they are decided was not measured",
        "The interval is the model's own",
        "Every piece of evidence was measured",
    ):
        assert words in said
    drawn = set(re.findall(r'<figure id="fig-([a-z]+)"', page_of("bare")))
    assert drawn == {"curves", "code", "coverage", "noise"}
    assert "No learner was fitted" in diagnosis_words.curves(example.diagnosis(curves=()))


def test_contributions_add_up_to_the_gain():
    picture = diagnosis_figures.contributions(example.prediction(), "online-dpo")
    assert picture is not None
    parts = [(min(xs), max(xs)) for xs in places(str(picture.svg), "part")]
    (zero,) = places(str(picture.svg), "zero")
    unit = (parts[-1][1] - zero[0]) / 0.121

    def spans(a: float, b: float) -> tuple[float, float]:
        return ((a - zero[0]) / unit, (b - zero[0]) / unit)

    # 0.02 to start from, then 0.068, 0.051 and -0.018.
    wanted = [(0.0, 0.02), (0.02, 0.088), (0.088, 0.139), (0.121, 0.139), (0.0, 0.121)]
    for part, span in zip(parts, wanted, strict=True):
        assert spans(*part) == pytest.approx(span, abs=5e-4)
    column = [row[4].text.replace("\N{MINUS SIGN}", "-") for row in picture.table.rows]
    assert column == ["+0.068", "+0.051", "-0.018", "+0.020", "+0.121"]
    assert [row[2].sub for row in picture.table.rows[:3]] == [(), (), ("outside",)]
    assert "outside what is known" in "".join(Outline(str(picture.svg)).words)
    assert "44 worlds of 6 families" in said_on("diagnosis")
    assert "lies outside the worlds that were fitted" in said_on("diagnosis")


def test_every_road_has_its_prediction_explained_that_of_the_advice_first():
    page = page_of("diagnosis")
    drawn = re.findall(r'<figure id="fig-contributions-([a-z-]+)"', page)
    assert drawn == ["online-dpo", "best-of-n"]
    said = said_on("diagnosis")
    assert "Predicted gain of online-dpo over offline DPO: +0.121" in said
    assert "Ridge regression of what search gains." in said


def test_the_cost_stands_beside_that_of_online_training():
    # 1.1e12 of 6.4e12.
    assert "0.17 times the FLOP of one training of online-dpo" in said_on("diagnosis")
    assert "times the FLOP" not in said_on("bare")


def test_hostile_text_is_shown_word_for_word():
    hostile = " ".join((example.HOSTILE * 3).split())
    # Facts, headline, reason, change, next step, feature, model, missing, command and others.
    assert said_on("hostile").count(hostile) > 15
    text = text_of(example.hostile().model_copy(update={"headline": "a\x1b[2Jb\u202ec"}))
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_the_same_diagnosis_gives_the_same_page(tmp_path: Path):
    read = Diagnosis.model_validate_json(example.bare().model_dump_json())
    where = diagnosis.write(read, tmp_path / "new" / "diagnosis.html")
    assert where.read_text(encoding="utf-8") == page_of("bare")
    assert [path.name for path in where.parent.iterdir()] == ["diagnosis.html"]


def test_a_terminal_gets_the_page_in_short():
    text = text_of(example.real())
    said = plain(text)
    order = ["Two-stage online RL", "+0.121 (+0.048 to +0.194)", "Because", "- Best of 16",
             "online-dpo +0.121", "3 min", "Next Train online-dpo",
             "Missing - No true reward"]  # fmt: skip
    spots = [said.index(words) for words in order]
    assert spots == sorted(spots)
    long = example.diagnosis(
        headline="word " * 99, next_step="word " * 99, missing=("word " * 99,) * 7,
        reasons=(Reason(words="word " * 99, evidence="code"),) * 3,
    )  # fmt: skip
    for one in (text, text_of(long), text_of(example.hostile())):
        lines = one.splitlines()
        assert len(lines) <= 25
        assert max(map(len, lines)) <= 96
    assert "(and 4 more on the page)" in text_of(long)


@pytest.mark.skipif(browser.CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_finds_nothing_wrong(tmp_path: Path):
    seen_by({"diagnosis": page_of("diagnosis")}, tmp_path, "dark")


@pytest.mark.slow  # seven pages: 4 s to draw and to open
@pytest.mark.skipif(browser.CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_finds_nothing_wrong_with_any(tmp_path: Path):
    names = (*VARIANTS[1:], "no_offline", "untrusted", "real")
    seen_by({name: page_of(name) for name in names}, tmp_path, "light")
