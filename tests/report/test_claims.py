"""The page of claims: self-contained, escaped, the same every time, readable on a phone."""

from __future__ import annotations

from pathlib import Path

import pytest

from allroads.exact.claims import CLAIMS
from allroads.findings import Check, Drawing, Finding, Line
from allroads.report import claims
from tests.report import browser
from tests.report.test_page import Outline

HOSTILE = "<script>alert(1)</script> $x^2$ {{ 7*7 }} §0§"


def finding(name: str = "a-claim", text: str = "left equals right", *, gap: float = 0.0) -> Finding:
    fields = {"says": text, "left": 1.0, "tolerance": 1e-12}
    line = Line(name=text, x=(1.0, 2.0, 3.0), y=(1e-15, 1e-3, 10.0))
    return Finding(
        name=name,
        statement=text,
        source=text,
        checks=(
            Check(variant=text, premise=True, right=1.0 + gap, gap=gap, **fields),
            Check(variant=f"{text}, broken", premise=False, right=3.0, gap=2.0, **fields),
        ),
        drawing=Drawing(
            title=text, x=text, y=text, lines=(line,), reading=text, log_x=True, log_y=True
        ),
    )


def render(*findings: Finding) -> str:
    return claims.render(findings, command="allroads exact", version="0")


@pytest.fixture(scope="module")
def whole() -> str:
    return render(*(claim.illustrate() for claim in CLAIMS.values()))


def test_the_page_of_all_claims_is_whole(whole: str):
    outline = Outline(whole)
    sections = [a["id"] for tag, a in outline.elements if tag == "section"]
    assert sections == [*CLAIMS, "rerun"]
    ids = [a["id"] for _, a in outline.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert sum(a.get("class") == "plot" for _, a in outline.elements) == len(CLAIMS)
    assert {f"#{name}" for name in CLAIMS} <= {
        a["href"] for tag, a in outline.elements if tag == "a"
    }


def test_the_page_asks_for_nothing_and_runs_nothing(whole: str):
    for page in (whole, render(finding(text=HOSTILE))):
        outline = Outline(page)
        assert not {tag for tag, _ in outline.elements} & {"script", "img", "iframe", "object"}
        for tag, attributes in outline.elements:
            assert not [name for name in attributes if name.startswith("on")], tag
        links = [a.get("href") or a.get("src") for _, a in outline.elements]
        assert {link[0] for link in links if link} <= {"#", "d"}


def test_text_stays_text():
    words = "".join(Outline(render(finding(text=HOSTILE))).words)
    assert "{{ 7*7 }}" in words
    assert "<script>alert(1)</script>" in words
    assert "$x^2$" in words


def test_the_same_findings_give_the_same_page(whole: str):
    assert render(finding()) == render(finding())
    assert render(*(claim.illustrate() for claim in CLAIMS.values())) == whole


def test_a_claim_that_failed_says_so():
    good, bad = render(finding()), render(finding(gap=0.5))
    assert 'class="band decided"' in good
    assert 'class="band undecided"' in bad
    assert "Did not come out as stated" in bad
    assert '<b class="tone worse">no</b>' in bad
    assert '<b class="tone worse">' not in good


def test_a_claim_without_a_picture_has_a_page(tmp_path: Path):
    bare = finding().model_copy(update={"drawing": None})
    where = claims.write([bare], tmp_path / "new" / "page.html", command="c", version="0")
    assert 'class="plot"' not in where.read_text(encoding="utf-8")


@pytest.mark.skipif(browser.CHROMIUM is None, reason="chromium is not installed")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_finds_nothing_wrong(whole: str, tmp_path: Path, scheme: str):
    path = tmp_path / "claims.html"
    path.write_text(whole, encoding="utf-8")
    seen = browser.look([(path, 390), (path, 1280)], tmp_path, scheme=scheme)
    assert seen.console == []
    assert len(seen.pages) == 4
    for width, found in zip((390, 390, 1280, 1280), seen.pages, strict=True):
        assert found["scroll_width"] <= width
        assert found["outside"] == []
        assert found["overlaps"] == []
        assert found["escaped"] == []
        assert found["smallest"] >= 11
