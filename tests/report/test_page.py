"""The page: complete, the same every time, deaf to hostile text, readable on a phone."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from allroads.records import NO_BETTER_THAN_A_COIN, Mean, Results
from allroads.report import figures, numbers, render, scorers, tables, write

from . import browser, example

VARIANTS: dict[str, Callable[[], Results]] = {
    "full": example.results,
    "one-seed": lambda: example.results(seeds=1),
    "bare": example.bare,
    "crowd": example.crowd,
    "hostile": example.hostile,
}
SECTIONS = (
    "verdict",
    "roads",
    "frontier",
    "overoptimisation",
    "reward-models",
    "judge",
    "samples",
    "data",
    "ledger",
    "stages",
    "method",
    "notes",
    "rerun",
)


class Outline(HTMLParser):
    """Elements with their attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        """Parse the whole page at once."""
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.words.append(data)


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    return {name: render(build()) for name, build in VARIANTS.items()}


def test_the_same_results_give_the_same_page(pages: dict[str, str]) -> None:
    assert render(example.results()) == pages["full"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_section_is_there_in_order(pages: dict[str, str], variant: str) -> None:
    outline = Outline(pages[variant])
    ids = [a["id"] for tag, a in outline.elements if tag == "section"]
    assert tuple(ids) == SECTIONS
    anchors = {a["href"] for tag, a in outline.elements if tag == "a"}
    assert {f"#{name}" for name in SECTIONS} <= anchors
    headings = [tag for tag, _ in outline.elements if tag in {"h1", "h2"}]
    assert headings.count("h1") == 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_ids_are_unique(pages: dict[str, str], variant: str) -> None:
    ids = [a["id"] for _, a in Outline(pages[variant]).elements if "id" in a]
    assert len(ids) == len(set(ids))


def test_the_verdict_comes_first_with_its_state(pages: dict[str, str]) -> None:
    for variant, state in (("full", "decided"), ("one-seed", "no-verdict")):
        page = pages[variant]
        assert f'class="band {state}"' in page
        assert page.index('id="verdict"') < page.index("<table")
    results = example.results()
    unsure = results.verdict.model_copy(update={"decided": False})
    assert 'class="band undecided"' in render(results.model_copy(update={"verdict": unsure}))


@pytest.mark.parametrize("variant", VARIANTS)
def test_text_of_the_data_stays_text(pages: dict[str, str], variant: str) -> None:
    outline = Outline(pages[variant])
    assert not {tag for tag, _ in outline.elements} & {"script", "img", "iframe", "object", "base"}
    for tag, attributes in outline.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
    assert sum(tag == "style" for tag, _ in outline.elements) == 1


def test_hostile_text_is_shown_word_for_word(pages: dict[str, str]) -> None:
    text = "".join(Outline(pages["hostile"]).words)
    visible = example.HOSTILE.replace("\x00", "\ufffd").replace("\x1b", "\ufffd")
    for field in (example.hostile().samples[0].prompt, example.hostile().verdict.headline):
        assert field.replace(example.HOSTILE, visible) in text
    assert "49" not in example.HOSTILE
    assert "{{ 7*7 }}" in text


def test_the_judge_stands_beside_the_people(pages: dict[str, str]) -> None:
    section = pages["full"].partition('id="judge"')[2].partition("</section>")[0]
    text = " ".join("".join(Outline(section).words).split())
    assert NO_BETTER_THAN_A_COIN not in text
    for shown in (
        "agreement with the labels",
        "rloo against sft",
        "3 the same text",
        "time-out",
        "of 48",
    ):
        assert shown in text
    # Two in each of the three rows of the example.
    assert "at most 4000 characters of each text (longer ones were cut in 6 pairs)" in text
    results = example.results()
    assert results.judge is not None
    people = results.judge.people
    for share in (None, Mean(value=0.56, low=0.5, high=0.62, seeds=1, prompts=90)):
        duels = people.duels.model_copy(update={"share": share})
        weak = results.judge.model_copy(
            update={"people": people.model_copy(update={"duels": duels})}
        )
        page = render(results.model_copy(update={"judge": weak}))
        assert NO_BETTER_THAN_A_COIN in page
    assert "No judge was asked" in pages["bare"]


def test_road_names_inside_a_figure_are_text() -> None:
    picture = figures.differences(example.hostile())
    assert picture is not None
    outline = Outline(str(picture.svg))
    assert not {tag for tag, _ in outline.elements} & {"script", "img"}
    assert "sft <script>alert('" in "".join(outline.words)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_page_asks_nobody_for_anything(pages: dict[str, str], variant: str) -> None:
    page = pages[variant]
    assert "http://" not in page
    assert "https://" not in page
    assert not re.search(r"@import|url\((?!#)", page)
    for tag, attributes in Outline(page).elements:
        for name in ("src", "href", "xlink:href", "action", "data", "poster"):
            assert re.match(r"#|data:", attributes.get(name) or "#"), (tag, attributes)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_figure_can_be_read_without_eyes(pages: dict[str, str], variant: str) -> None:
    parts = re.findall(r"<figure.*?</figure>", pages[variant], re.DOTALL)
    assert len(parts) == (1 if variant == "bare" else 5)
    for part in parts:
        elements = Outline(part).elements
        images = [a for tag, a in elements if tag == "svg" and a.get("role") == "img"]
        assert len(images) == 1
        assert len(images[0]["aria-label"] or "") > 20
        tags = [tag for tag, _ in elements]
        assert {"figcaption", "details", "table", "caption"} <= set(tags)
        assert all(a.get("scope") in {"col", "row"} for tag, a in elements if tag == "th")
        assert tags.count("tr") > 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_what_is_no_number_is_not_printed(pages: dict[str, str], variant: str) -> None:
    words = " ".join(Outline(pages[variant]).words)
    labels = " ".join(a.get("aria-label") or "" for _, a in Outline(pages[variant]).elements)
    assert not re.search(r"\b(nan|inf|None|NaN)\b", words + labels)
    assert not re.search(r"\bnan\b", pages[variant], re.IGNORECASE)


def test_the_win_rate_at_equal_length_stands_beside_the_win_rate() -> None:
    truth = tables.of_roads(example.results())
    assert "At equal length" not in truth.columns
    full = example.results()
    points = tuple(
        p.model_copy(update={"controlled": example.mean(p.reward.value - 0.04, 0.02)})
        for p in full.points
    )
    table = tables.of_roads(full.model_copy(update={"points": points}))
    at = table.columns.index("At equal length")
    assert table.columns[at - 1].endswith("held-out")
    assert table.columns[table.words[-1]] == "Conclusion"
    for row in table.rows:
        assert len(row) == len(table.columns)
        assert row[at].sub
        assert row[at].text != row[at - 1].text


def test_labels_that_no_road_saw_are_named(pages: dict[str, str]) -> None:
    page = render(example.results().model_copy(update={"labels_withheld": 623}))
    assert "623 labels fitted the selection scorer: the roads did not get them." in page
    assert "the roads did not get them" not in pages["full"]


def test_axes_have_names_and_units() -> None:
    results = example.results()
    drawn = (figures.frontier(results), figures.overoptimisation(results))
    for picture in drawn:
        assert picture is not None
        words = "".join(Outline(str(picture.svg)).words)
        assert "nats per completion" in words
        assert f"{results.metric.name} on held-out prompts, {results.metric.unit}" in words


def test_figures_without_material_are_left_out() -> None:
    bare = example.bare()
    assert figures.frontier(bare) is not None
    for draw in (figures.differences, figures.overoptimisation):
        assert draw(bare) is None
    for draw in (scorers.accuracy, scorers.reliability):
        assert draw(bare) is None
    empty = render(bare.model_copy(update={"points": ()}))
    assert "No road was measured." in empty


def test_one_seed_says_so(pages: dict[str, str]) -> None:
    assert "one seed: no interval" in pages["one-seed"]
    assert "95\N{NO-BREAK SPACE}% interval." not in pages["one-seed"].split('id="method"')[0]


def test_other_sizes_are_said_in_the_cell(pages: dict[str, str]) -> None:
    assert "4 seeds × 400 prompts" in pages["crowd"]


@pytest.mark.parametrize(
    ("mean", "value", "interval"),
    [
        # Half width 0.0217: two digits of it are thousandths.
        (Mean(value=0.6543210, low=0.6326, high=0.6760, seeds=3), "0.654", "0.633 to 0.676"),
        # Half width 12: whole numbers.
        (
            Mean(value=1234.5678, low=1222.4, high=1246.6, seeds=3),
            "1\u202f235",
            "1\u202f222 to 1\u202f247",
        ),
        (Mean(value=-0.0001, low=-0.02, high=0.02, seeds=3), "0.000", "\u22120.020 to 0.020"),
        (Mean(value=0.6543210, seeds=1), "0.654", "one seed: no interval"),
        (Mean(value=float("nan"), low=0.0, high=1.0, seeds=3), "–", ""),
        (Mean(value=0.5, low=0.5, high=0.5, seeds=3), "0.500", "0.500 to 0.500"),
    ],
)
def test_digits_follow_the_interval(mean: Mean, value: str, interval: str) -> None:
    assert numbers.value_of(mean) == value
    assert numbers.interval_of(mean).replace("\N{NO-BREAK SPACE}", " ") == interval


def test_writing_leaves_one_whole_file(tmp_path: Path, pages: dict[str, str]) -> None:
    target = tmp_path / "run" / "report.html"
    assert write(example.bare(), target) == target
    write(example.results(), target)
    assert target.read_text(encoding="utf-8") == pages["full"]
    assert [p.name for p in target.parent.iterdir()] == ["report.html"]


def test_a_failed_write_keeps_the_old_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = write(example.bare(), tmp_path / "report.html")
    before = target.read_bytes()

    def full_disk(_handle: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full_disk)
    with pytest.raises(OSError, match="no space"):
        write(example.results(), target)
    assert target.read_bytes() == before
    assert list(tmp_path.iterdir()) == [target]


def test_torch_is_not_needed() -> None:
    code = "import sys, allroads.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


needs_browser = pytest.mark.skipif(browser.CHROMIUM is None, reason="chromium is not installed")


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_finds_nothing_wrong(pages: dict[str, str], tmp_path: Path, scheme: str) -> None:
    shown = []
    for name, page in pages.items() if scheme == "light" else [("full", pages["full"])]:
        path = tmp_path / f"{name}.html"
        path.write_text(page, encoding="utf-8")
        shown += [(path, 390), (path, 1280)]
    seen = browser.look(shown, tmp_path, scheme=scheme)
    assert seen.console == []
    assert len(seen.pages) == 2 * len(shown)
    for (path, width), found in zip(
        [entry for entry in shown for _ in ("folded", "unfolded")], seen.pages, strict=True
    ):
        where = f"{path.stem} at {width}"
        assert found["scroll_width"] <= width, where
        assert found["outside"] == [], where
        assert found["overlaps"] == [], where
        assert found["escaped"] == [], where
        assert found["smallest"] >= 11, where
        assert _contrast(found["background"], found["ink"]) >= 7, where
        assert (_luminance(found["background"]) < 0.1) == (scheme == "dark"), where


@needs_browser
def test_the_browser_test_can_fail(tmp_path: Path) -> None:
    wide = tmp_path / "wide.html"
    wide.write_text(
        "<!DOCTYPE html><body style='background:#fff;color:#000'>"
        "<div style='width:600px'>wide</div><div class='plot'><svg viewBox='0 0 100 50' "
        "width='100'><text x='9' y='20'>over</text><text x='9' y='20'>lap</text>"
        "<text x='99' y='40'>escaped</text></svg></div>"
        "<script>console.error('broken'); undefined_name()</script>"
    )
    seen = browser.look([(wide, 390)], tmp_path, scheme="light")
    assert seen.pages[0]["scroll_width"] > 390
    assert any("wide" in entry for entry in seen.pages[0]["outside"])
    assert ["over", "lap"] in seen.pages[0]["overlaps"]
    assert seen.pages[0]["escaped"] == ["escaped"]
    assert any("broken" in line for line in seen.console)


def _luminance(colour: str) -> float:
    """Relative luminance by WCAG 2 of `rgb(r, g, b)`."""
    parts = [int(part) / 255 for part in re.findall(r"\d+", colour)[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(first: str, second: str) -> float:
    """WCAG contrast of two colours, 1 to 21."""
    dark, light = sorted((_luminance(first), _luminance(second)))
    return (light + 0.05) / (dark + 0.05)
