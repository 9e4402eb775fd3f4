"""`allroads judge` on whole run folders, against a fake server whose opinion is known."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import allroads
from allroads import cli, files
from allroads.data.dataset import Dataset
from allroads.errors import ConfigError, JudgeError, RunFolderError
from allroads.records import NO_BETTER_THAN_A_COIN, Judgement, Results
from tests.judges.server import Asked, Fake, Said, reply, serving
from tests.lab.conftest import Grown, Straight
from tests.lab.test_compare_files import config
from tests.words import BAD, GOOD, save_model, write_preferences

KEY = "sk-test-0123456789abcdefghij"


@pytest.fixture(scope="module")
def worded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on files, two seeds; people always prefer the glad answer. Do not write into it."""
    where = tmp_path_factory.mktemp("worded")
    data, model = write_preferences(where / "pairs.jsonl", 300), save_model(where / "tiny")
    allroads.compare(
        out=where / "run", config=config(data, model, roads=("sft-chosen", "dpo", "best-of-n"))
    )
    # The run is to be judged without them.
    shutil.rmtree(model)
    data.unlink()
    return where / "run"


@pytest.fixture
def run(worded: Path, tmp_path: Path) -> Path:
    """A copy of that run."""
    return shutil.copytree(worded, tmp_path / "run")


def glad(asked: Asked) -> str:
    """The people's own taste."""
    first, second = (text.split().count(GOOD) - text.split().count(BAD) for text in asked.answers)
    return "tie" if first == second else "1" if first > second else "2"


def judged(run: Path, fake: Fake, **fields: Any) -> tuple[Results, Judgement]:
    given = {"model": "fake", "prompts": 12, "human_pairs": 20, "timeout": 10.0, **fields}
    results = allroads.judge(run, url=fake.url, **given)
    assert results.judge is not None
    return results, results.judge


def texts(run: Path, pattern: str, seed: int) -> dict[str, dict[str, Any]]:
    """A road's stored answers by prompt, from its evaluation file."""
    (path,) = run.glob(f"evaluations/{pattern}-s{seed}-*.json")
    content = files.read_json(path)
    record = content["snapshots"][-1] if "snapshots" in content else content["by_n"]["2"]
    return {row["prompt_id"]: row for row in record["answers"]}


# What is asked ------------------------------------------------------------------------------------


def test_a_judge_of_the_people_s_taste(run: Path):
    with serving(glad) as fake:
        results, found = judged(run, fake)
    people = found.people.duels
    assert (people.asked, people.wins, people.share and people.share.value) == (20, 20, 1.0)
    assert found.better_than_a_coin
    assert (people.disagreement and people.disagreement.value, people.first) == (0.0, 0.5)
    assert [r.road for r in found.roads] == ["dpo", "best-of-n"]
    assert (found.start, found.seeds, found.prompts) == ("sft-chosen", (0,), 12)
    assert (found.served, found.model, found.template_hash != "") == (("fake-1",), "fake", True)
    page = (run / "report.html").read_text("utf-8")
    assert "An outside judge" in page
    assert NO_BETTER_THAN_A_COIN not in page
    assert results.verdict == allroads.open_run(run).verdict


def test_roads_are_judged_by_their_stored_answers(run: Path):
    with serving(glad) as fake:
        _, found = judged(run, fake, prompts=1000, human_pairs=0)
    own, rivals = texts(run, "best-of-n", 0), texts(run, "evaluate-sft-chosen", 0)
    assert list(own) == list(rivals)
    counts = {"a": 0, "tie": 0, "b": 0}
    for name in own:
        one, other = (t[name]["text"].split() for t in (own, rivals))
        lead = one.count(GOOD) - one.count(BAD) - other.count(GOOD) + other.count(BAD)
        counts["a" if lead > 0 else "b" if lead < 0 else "tie"] += 1
    row = found.roads[1].duels
    assert (row.wins, row.ties, row.losses) == (counts["a"], counts["tie"], counts["b"])
    assert (row.asked, found.prompts) == (len(own), len(own))
    assert (found.people.duels.asked, found.people.duels.share) == (0, None)
    assert not found.better_than_a_coin


def test_people_s_pairs_are_the_held_out_ones(run: Path):
    with serving(lambda _: "tie") as fake:
        _, found = judged(run, fake, prompts=1, human_pairs=1000, roads=("dpo",))
    made = Dataset.from_json((run / "data" / "dataset.json").read_text())
    assert found.people.duels.asked == len(made.pairs["test"])
    assert found.people.duels.ties == len(made.pairs["test"])
    assert len(fake.asked) == 2 * found.people.duels.asked + 2


def test_every_seed_on_request(run: Path):
    with serving(glad) as fake:
        _, found = judged(run, fake, all_seeds=True, roads=("dpo",))
    (row,) = found.roads
    assert (row.duels.asked, found.seeds) == (24, (0, 1))
    assert row.duels.share is not None
    assert row.duels.share.seeds == 2


def test_a_world_is_judged_by_its_own_labels(grown: Grown, tmp_path: Path):
    run = shutil.copytree(grown.folder, tmp_path / "run")
    with serving(lambda _: "1") as fake:
        _, found = judged(run, fake, roads=("dpo", "rloo"))
    assert found.people.duels.asked == 20
    assert found.people.duels.ties == 20
    assert found.people.duels.disagreement is not None
    assert (found.people.duels.disagreement.value, found.people.duels.first) == (1.0, 1.0)
    # By names of towns, as people read them, never by numbers of tokens.
    prompts = {row["prompt"] for row in texts(run, "evaluate-sft", 0).values()}
    shown = {a.text.partition("]\n")[2].partition("\n[/")[0] for a in fake.asked}
    assert len(prompts & shown) >= 10
    assert all(any(c.isalpha() for c in text) for text in shown)
    assert NO_BETTER_THAN_A_COIN in (run / "report.html").read_text("utf-8")


# What is kept -------------------------------------------------------------------------------------


def test_judging_again_asks_nothing_and_says_the_same(run: Path):
    with serving(glad) as fake:
        _, first = judged(run, fake)
        count = len(fake.asked)
        _, again = judged(run, fake)
        assert len(fake.asked) == count
        # A larger number of prompts asks only about the further ones.
        judged(run, fake, prompts=14, human_pairs=22)
        assert count < len(fake.asked) <= count + 2 * (2 * 2 + 2)
    assert again.model_copy(update={"created": first.created}) == first


def test_the_report_keeps_the_section(run: Path):
    with serving(glad) as fake:
        _, found = judged(run, fake)
    page = (run / "report.html").read_text("utf-8")
    (run / "report.html").unlink()
    assert allroads.open_run(run).judge == found
    assert (run / "report.html").read_text("utf-8") == page


def test_a_road_that_has_changed_since_is_marked(run: Path):
    with serving(glad) as fake:
        judged(run, fake)
    (path,) = run.glob("evaluations/best-of-n-s0-*.json")
    content = files.read_json(path)
    content["by_n"]["2"]["answers"][0]["text"] += " gladly"
    files.write_json(path, content)
    found = allroads.open_run(run).judge
    assert found is not None
    assert {r.road: r.stale for r in found.roads} == {"dpo": False, "best-of-n": True}
    assert "judged before the run changed" in (run / "report.html").read_text("utf-8")


def test_failures_are_shown_and_are_no_ties(run: Path):
    said = {0: Said(500), 1: Said(429), 2: "Let me think about that", 3: Said(body=b"<b>")}
    with serving(lambda a: said.get(a.number, "tie")) as fake:
        _, found = judged(run, fake, roads=("dpo",), retries=0, workers=1, human_pairs=8)
    people = found.people.duels
    # One worker asks in order: the first two pairs lose both orders each, the first one names it.
    assert [(f.reason, f.count) for f in people.failures] == [
        ("HTTP 500", 1),
        ("unparsable answer", 1),
    ]
    assert (people.asked, people.ties) == (8, 6)
    page = (run / "report.html").read_text("utf-8")
    assert "unparsable answer" in page
    assert "Let me think about that" in page


def test_what_a_judge_says_stays_text(run: Path):
    attack = "<script>alert(1)</script>"
    with serving(lambda _: Said(body=reply(attack, model=attack))) as fake:
        judged(run, fake, roads=("dpo",))
    page = (run / "report.html").read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page


# The key ------------------------------------------------------------------------------------------


def test_the_key_is_written_nowhere(
    run: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    """A server that repeats it wherever it can, good and bad, from the command line."""
    monkeypatch.setenv("MY_KEY", KEY)

    def behave(asked: Asked) -> Said:
        assert asked.headers["Authorization"] == f"Bearer {KEY}"
        ways = [
            Said(body=reply(f"your key is {KEY}", model=KEY)),
            Said(400, {"error": {"message": f"bad key {KEY}"}}),
            Said(500, KEY.encode()),
            Said(body=KEY.encode()),
            Said(body=reply("1", model=KEY)),
        ]
        return ways[asked.number % len(ways)]

    with serving(behave) as fake:
        command = ["allroads", "judge", run, "--url", fake.url, "--model", "m", "--key-env"]
        command += ["MY_KEY", "--retries", "0", "--human-pairs", "20", "--prompts", "10"]
        monkeypatch.setattr(sys, "argv", [str(part) for part in command])
        with pytest.raises(SystemExit) as left:
            cli.main()
        assert left.value.code in (0, None)
        assert len(fake.asked) > 20
    said = capfd.readouterr()
    assert "agreement with the labels" in said.out
    wrong = [said.out, said.err]
    with serving(lambda _: Said(401, {"error": {"message": KEY}})) as fake:
        with pytest.raises(JudgeError, match="MY_KEY") as caught:
            judged(run, fake, key_env="MY_KEY", model="another")
        wrong.append(str(caught.value))
    assert not [text for text in wrong if KEY in text]
    holding = [
        path for path in run.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()
    ]
    assert holding == []
    assert "[key]" in "".join(p.read_text() for p in (run / "cache" / "judge").iterdir())


# What is refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"roads": ("dop",)}, "did you mean 'dpo'"),
        ({"roads": ("sft-chosen",)}, "against 'sft-chosen'"),
        ({"prompts": 0}, "--prompts: at least 1, found 0"),
        ({"human_pairs": -1}, "--human-pairs: at least 0"),
        ({"workers": 0}, "--workers"),
        ({"retries": -1}, "--retries"),
        ({"max_tokens": 0}, "--max-tokens"),
        ({"max_chars": 0}, "--max-chars"),
        ({"timeout": 0.0}, "--timeout"),
        ({"timeout": float("nan")}, "--timeout"),
        ({"temperature": -1.0}, "--temperature"),
        ({"model": ""}, "--model"),
        ({"key_env": KEY}, "--key-env"),
        ({"template": Path("/nowhere")}, "--template"),
        ({"promts": 3}, "did you mean 'prompts'"),
    ],
)
def test_settings_that_cannot_be_used(worded: Path, fields: dict[str, Any], message: str):
    given = {"url": "http://127.0.0.1:9", "model": "m", **fields}
    with pytest.raises(ConfigError, match=message):
        allroads.judge(worded, **given)
    assert not (worded / "judge.json").exists()


def test_what_is_no_run_is_not_made_one(tmp_path: Path):
    with pytest.raises(RunFolderError, match=r"no manifest\.json"):
        allroads.judge(tmp_path / "absent", url="http://127.0.0.1:9", model="m")
    assert not (tmp_path / "absent").exists()


def test_an_unfinished_run_is_not_judged(straight: Straight, tmp_path: Path):
    run = shutil.copytree(straight.folder, tmp_path / "run")
    next(run.glob("evaluations/evaluate-dpo-*")).unlink()
    with pytest.raises(RunFolderError, match="run it to its end first"):
        allroads.judge(run, url="http://127.0.0.1:9", model="m")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"model": "m"}'])
def test_a_damaged_judging_is_told(run: Path, content: str):
    (run / "judge.json").write_text(content)
    with pytest.raises(RunFolderError, match=r"judge\.json cannot be read"):
        allroads.open_run(run)
    # Judging again mends it.
    with serving(glad) as fake:
        judged(run, fake, prompts=1, human_pairs=1)
    assert json.loads((run / "judge.json").read_text())["model"] == "fake"


def test_a_refused_key_leaves_the_run_as_it_was(run: Path):
    before = (run / "report.html").read_bytes()
    with serving(lambda _: Said(401)) as fake, pytest.raises(JudgeError, match="OPENAI_API_KEY"):
        judged(run, fake)
    assert (run / "report.html").read_bytes() == before
    assert not (run / "judge.json").exists()
