"""The page of the studies: verdicts first, figures true to their numbers, deaf to hostile text."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from allroads.records import Mean
from allroads.report import study, study_figures, study_tables
from allroads.report.study_markdown import BLOCKS, fill, study_markdown
from allroads.studies import Study

from . import browser
from . import study_example as example
from .test_page import Outline

VARIANTS: dict[str, Callable[[], Study]] = {
    "study": example.study,
    "single": example.single,
    "empty": example.empty,
    "hostile": example.hostile,
}
SECTIONS = [
    "verdict", "hypothesis", "rival", "control", "paper", "contrasts", "arms", "scorers",
    "leads", "difficulty", "equals", "left-out", "notes", "rerun",
]  # fmt: skip


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: study.render(build()) for name, build in VARIANTS.items()}


def words(page: str) -> str:
    return " ".join("".join(Outline(page).words).split())


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_page_is_whole(pages: dict[str, str], variant: str):
    outline = Outline(pages[variant])
    assert [a["id"] for tag, a in outline.elements if tag == "section"] == SECTIONS
    anchors = {a["href"] for tag, a in outline.elements if tag == "a"}
    assert {f"#{name}" for name in SECTIONS} <= anchors
    ids = [a["id"] for _, a in outline.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert [tag for tag, _ in outline.elements].count("h1") == 1


def test_how_well_the_lead_says_what_a_road_gains(pages: dict[str, str]):
    # Ranks of leads 4 2 1 3, of search 4 2 1 3, of online training 3 2 1 4.
    assert (
        "The gain of best-of-n has the sign of the lead on 4 of 4 worlds, rank correlation 1.00; "
        "the gain of online-dpo has the sign of the lead on 3 of 4 worlds, rank correlation 0.80."
    ) in words(pages["study"]).replace("\N{NO-BREAK SPACE}", " ")
    assert "has the sign of the lead" not in words(pages["single"])


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_page_asks_for_nothing_and_runs_nothing(pages: dict[str, str], variant: str):
    outline = Outline(pages[variant])
    assert not {tag for tag, _ in outline.elements} & {"script", "img", "iframe", "object"}
    assert not re.search(r"https?://|@import|url\((?!#)", pages[variant])
    for tag, attributes in outline.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href", "xlink:href"):
            assert re.match(r"#|data:", attributes.get(name) or "#"), (tag, attributes)


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_no_number_is_not_printed(pages: dict[str, str], variant: str):
    outline = Outline(pages[variant])
    said = " ".join(outline.words) + " ".join(
        a.get("aria-label") or "" for _, a in outline.elements
    )
    assert not re.search(r"\b(nan|inf|None|NaN)\b", said)


def test_hostile_text_is_shown_word_for_word(pages: dict[str, str]):
    said = words(pages["hostile"])
    hostile = " ".join((example.HOSTILE * 3).split())
    # Title, source and reason of two kinds, rule, notes, command and others; figures cut it.
    assert said.count(hostile) > 30
    assert "49" not in example.HOSTILE
    assert "alert('x')</script> & $x^2$ {{ 7*7 }}" in said


def test_the_same_study_gives_the_same_page(pages: dict[str, str]):
    assert study.render(example.single()) == pages["single"]
    read = Study.model_validate_json(example.single().model_dump_json())
    assert study.render(read) == pages["single"]


def test_the_verdict_comes_first(pages: dict[str, str]):
    page = pages["study"]
    # Nine rows are the paper's, one of them explored only and one without its cells.
    assert study.headline(example.study()) == (
        "The paper's hypotheses, world by world: 3 supported, 1 refuted, 2 undecided, 1 no test; "
        "1 only explored, which decides nothing; 1 not run in full"
    )
    assert 'class="band decided"' in page
    assert page.index('id="verdict"') < page.index("<table")
    said = words(page)
    assert "supported: gap on routes, H5 on routes, H6 on routes-hop; refuted: H1 on routes" in said
    assert "Controls. supported: margin on routes; refuted: relabelled on routes" in said


def test_an_exploration_decides_nothing(pages: dict[str, str]):
    explored = tuple(row.model_copy(update={"confirmed": ""}) for row in example.study().verdicts)
    alone = example.empty().model_copy(update={"verdicts": explored})
    assert "decide nothing" in study.headline(alone)
    assert 'class="band undecided"' in pages["single"]
    assert "supported" not in study.headline(alone)


def test_a_row_of_the_verdicts_says_what_it_rests_on():
    table = study_tables.of_verdicts(example.verdicts())
    gap, half, later = table.rows[0], table.rows[2], table.rows[4]
    said = [(cell.text, *cell.sub) for cell in gap]
    assert said == [
        ("gap", "two stages beat likelihood"),
        ("routes",),
        ("supported", "confirmed, 0123456789ab"),
        ("+0.120", "+0.080\N{NO-BREAK SPACE}to\N{NO-BREAK SPACE}+0.160"),
        ("above 0; counts from\N{NO-BREAK SPACE}0.03",),
        ("<\N{NO-BREAK SPACE}0.001",),
        ("5", "1000 to 1004"),
    ]
    assert (half[4].text, half[5].text) == ("within ±0.03", "0.31")
    assert half[6].sub[-1] == "17 would decide"
    assert [later[k].text for k in (2, 3, 5)] == ["no test", "2 tests", "–"]
    assert later[3].sub == ("no estimate", "no estimate")


def places(svg: str, mark: str) -> list[list[float]]:
    """Horizontal positions of the corners of every shape whose id has `mark`."""
    found = re.findall(rf'<g id="[^"]*-{mark}[^"]*">(.*?)</g>', svg, re.DOTALL)
    return [[float(x) for x in re.findall(r"[ML] ([\d.]+) ", part)] for part in found]


def test_bars_and_regions_stand_where_their_numbers_are():
    # The region of a claim of no difference ends at -0.03 and 0.03: that is the ruler.
    test = example.row_of("within", Mean(value=0.02, low=-0.01, high=0.05, seeds=5), "open")
    picture = study_figures.tests("t", "t", [example.verdict("H", "undecided", test)], "variant")
    assert picture is not None
    (region,), (bar,) = places(str(picture.svg), "region"), places(str(picture.svg), "bar")
    left, right = min(region), max(region)

    def value(x: float) -> float:
        return -0.03 + 0.06 * (x - left) / (right - left)

    assert [value(x) for x in bar] == pytest.approx([-0.01, 0.05], abs=5e-5)
    (zero,) = places(str(picture.svg), "zero")
    assert [value(x) for x in zero] == pytest.approx([0.0, 0.0], abs=5e-5)


@pytest.mark.parametrize(
    ("claim", "delta", "side"), [("above", 0.03, 1), ("at least", 0.03, 1), ("below", 0.03, -1)]
)
def test_a_claim_of_a_sign_is_shaded_on_its_side(claim: str, delta: float, side: int):
    test = example.row_of(claim, Mean(value=0.0, low=-0.1, high=0.1, seeds=5), "open", delta)
    picture = study_figures.tests("t", "t", [example.verdict("H", "undecided", test)], "variant")
    assert picture is not None
    svg = str(picture.svg)
    (region,), (bar,), small = (places(svg, mark) for mark in ("region", "bar", "small"))

    def value(x: float) -> float:
        return -0.1 + 0.2 * (x - min(bar)) / (max(bar) - min(bar))

    inner = min(side * value(x) for x in region)
    outer = max(side * value(x) for x in region)
    assert inner == pytest.approx(delta, abs=1e-4)
    assert outer > 0.1
    # Between nothing and what counts lies what is too small; a least size has no such zone.
    assert [sorted(side * value(x) for x in set(s)) for s in small] == (
        [] if claim == "at least" else [pytest.approx([0.0, delta], abs=1e-4)]
    )


def test_units_have_axes_of_their_own_and_shared_premises_are_drawn_once():
    rows = [row for row in example.verdicts() if row.kind == "control"]
    picture = study_figures.tests("t", "t", rows, "hypothesis")
    assert picture is not None
    said = "".join(Outline(str(picture.svg)).words)
    assert said.count("premise") == 1
    assert [f"{row.hypothesis}: {row.conclusion}" in said for row in rows] == [True] * 3
    both = [row for row in example.verdicts() if row.hypothesis == "H5"]
    picture = study_figures.tests("t", "t", both, "variant")
    assert picture is not None
    said = "".join(Outline(str(picture.svg)).words)
    assert said.count("share of held-out pairs") == 1
    assert said.count("true reward, 0 to 1") == 1


def test_a_test_without_an_estimate_says_so():
    test = example.row_of("above", None, "no estimate")
    row = example.verdict("H", "no test", test)
    picture = study_figures.tests("t", "t", [row], "variant")
    assert picture is not None
    assert "no estimate" in "".join(Outline(str(picture.svg)).words)
    table = study_tables.of_tests([row])
    assert "dpo, seed 1003: not run at its tuned setting" in table.rows[0][0].sub


def test_every_arm_has_a_panel_with_its_tuned_setting():
    whole = example.study()
    arms = [row for row in whole.arms if row.variant == "routes"]
    many = study_figures.frontiers("f", "routes", arms, "sft")
    assert many is not None
    assert len(many.panels) == len(arms) - 1
    for arm, panel in zip(arms[1:], many.panels, strict=True):
        assert arm.arm in "".join(Outline(str(panel)).words)
        assert len(re.findall(r'id="[^"]*-tuned"', panel)) == 1
    assert [key.name for key in many.keys][-3:] == ["dpo", "online-dpo", "sft, the start"]
    assert len(many.table.rows) == sum(len(arm.frontier) for arm in arms[1:])
    bare = [arm.model_copy(update={"frontier": ()}) for arm in arms]
    assert study_figures.frontiers("f", "routes", bare, "sft") is None


def test_differences_are_measured_by_a_gap_that_is_clear_of_zero():
    half = Mean(value=3.2, low=1.6, high=4.8, seeds=1)
    gap = Mean(value=6.4, low=0.8, high=12.0, seeds=1)
    found = study_figures.scaled(half, gap)
    assert found is not None
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.25, 0.75))
    # A gap in favour of dpo is a unit too; signs stay.
    turned = Mean(value=-6.4, low=-12.0, high=-0.8, seeds=1)
    assert study_figures.scaled(half, turned) == found
    unclear = Mean(value=6.4, low=-0.1, high=12.9, seeds=1)
    single = Mean(value=6.4, seeds=1)
    assert [study_figures.scaled(half, g) for g in (unclear, single, None)] == [None] * 3
    assert study_figures.scaled(None, gap) is None


def test_what_stands_beside_nothing_says_why():
    picture = study_figures.beside(example.beside_rows())
    assert picture is not None
    said = "".join(Outline(str(picture.svg)).words)
    assert said.count("nothing of ours is like it") == 1
    assert "(not measured)" in said
    assert "not clear of zero)" in " ".join(said.split())
    assert "ROUGE-L" not in said
    ours = picture.table.rows
    assert [row[3].text for row in ours] == ["+0.120", "–", "–", "+0.004", "–"]
    assert study_figures.beside(()) is None


def test_worlds_stand_where_their_difficulty_is():
    picture = study_figures.difficulty(example.study())
    assert picture is not None
    said = " ".join(key.name for key in picture.keys)
    # Each at its tuned setting: see the arms of the example.
    gaps = {
        world: example.arm("online-dpo", world, k).reward.value
        - example.arm("dpo", world, 1).reward.value
        for world, k in (("routes", 2), ("routes-hop", 2))
    }
    for world, gap in gaps.items():
        assert f"{world}, gap {'+' if gap > 0 else '−'}{abs(gap):.3f}" in said
    assert "preimage, gap not known" in said
    cells = [[cell.text for cell in row[1:3]] for row in picture.table.rows]
    assert cells[2][0] == "more than was tried"
    assert cells[3][1] == "more than was tried"


def test_the_markdown_holds_the_same_numbers():
    whole = example.study()
    text = study_markdown(whole)
    assert re.findall(r"<!-- study: ([a-z ]+) -->", text) == list(BLOCKS)
    assert (
        "| gap (two stages beat likelihood) | routes | supported (confirmed, 0123456789ab)" in text
    )
    assert "+0.120 (+0.080 to +0.160)" in text
    assert "- **H3 on routes-third: undecided, exploratory.**" in text
    for block in text.split("<!-- end -->"):
        sizes = [
            len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines() if line[:1] == "|"
        ]
        assert len(set(sizes)) <= (1 if "arms" not in block else 2)


def test_blocks_are_written_anew_and_the_rest_is_left():
    before = study_markdown(example.study())
    page = f"# Findings\n\n{before}\nOur reading.\n"
    after = fill(page, example.single())
    assert after.startswith("# Findings")
    assert after.endswith("Our reading.\n")
    assert "exploratory cells decide nothing" in after
    assert fill(after, example.study()) == page
    with pytest.raises(ValueError, match="no block"):
        fill("# Findings", example.single())
    with pytest.raises(ValueError, match="got nonsense"):
        fill("<!-- study: nonsense -->\n<!-- end -->", example.single())


def test_markdown_of_hostile_text_keeps_its_columns():
    text = study_markdown(example.hostile())
    assert "<script>" not in text
    (row,) = [
        line for line in text.splitlines() if line.startswith("| ") and "1000 to 1004" in line
    ][:1]
    assert len(re.findall(r"(?<!\\)\|", row)) == 8


def test_a_page_is_written_at_once(tmp_path: Path, pages: dict[str, str]):
    where = study.write(example.empty(), tmp_path / "new" / "study.html")
    assert where.read_text(encoding="utf-8") == pages["empty"]
    assert [path.name for path in where.parent.iterdir()] == ["study.html"]


def seen_by(shown: dict[str, str], tmp_path: Path, scheme: str) -> None:
    opened = []
    for name, page in shown.items():
        path = tmp_path / f"{name}.html"
        path.write_text(page, encoding="utf-8")
        opened += [(path, 360), (path, 1280)]
    seen = browser.look(opened, tmp_path, scheme=scheme)
    assert seen.console == []
    twice = [entry for entry in opened for _ in ("folded", "unfolded")]
    for (path, width), found in zip(twice, seen.pages, strict=True):
        where = f"{path.stem} at {width}"
        assert found["scroll_width"] <= width, where
        assert found["outside"] == [], where
        assert found["overlaps"] == [], where
        assert found["escaped"] == [], where
        assert found["smallest"] >= 10.4, where


@pytest.mark.skipif(browser.CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_finds_nothing_wrong(pages: dict[str, str], tmp_path: Path):
    seen_by({name: pages[name] for name in ("study", "hostile")}, tmp_path, "light")


@pytest.mark.slow  # a page of 30 arms takes 3 s to draw and to open
@pytest.mark.skipif(browser.CHROMIUM is None, reason="chromium is not installed")
def test_a_browser_finds_nothing_wrong_with_many_arms(tmp_path: Path):
    seen_by({"many": study.render(example.study(example.ROUTES))}, tmp_path, "dark")
