"""Labellers from outside in whole runs: a user's verifier on files, and a judge on a server."""

from __future__ import annotations

import functools
import json
import os
import shutil
import signal
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

import allroads
from allroads import files
from allroads.errors import ConfigError, JudgeError, RunFolderError, VerifierError
from allroads.judges.answers import name_of
from allroads.judges.client import Chat
from allroads.lab.compare import compare, prepare, rebuild, try_labellers
from allroads.lab.config import CompareConfig
from allroads.records import Results
from tests.judges.server import Asked, Behave, Fake, Said, serving
from tests.lab import tiny
from tests.lab.test_compare_files import config as on_files
from tests.words import GOOD, save_model, write_preferences

# A user's verifier --------------------------------------------------------------------------------

COUNTS = f"""\
def verify(prompts, completions):
    assert all(prompt.startswith("what does the") for prompt in prompts), prompts
    return [text.split().count({GOOD!r}) for text in completions]
"""
ROADS = ("dpo", "online-dpo", "online-dpo-verifier", "rloo@verifier", "best-of-n@verifier")


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs, a model and a verifier that counts the planted word."""
    folder = tmp_path_factory.mktemp("verified")
    write_preferences(folder / "pairs.jsonl", 300)
    save_model(folder / "tiny")
    (folder / "checks.py").write_text(COUNTS)
    return folder


def asked(where: Path, verifier: Path | None, **changes: Any) -> CompareConfig:
    chosen = {"roads": ROADS, "verifier": verifier and str(verifier), "start": "base", **changes}
    return on_files(where / "pairs.jsonl", where / "tiny", **chosen)


@pytest.fixture(scope="module")
def verified(where: Path) -> tuple[Path, Results]:
    """A run of two seeds with every kind of road that asks it. Do not write into it."""
    folder = where / "run"
    return folder, allroads.compare(out=folder, config=asked(where, where / "checks.py"))


def test_roads_by_the_users_verifier_are_labelled_from_outside(verified: tuple[Path, Results]):
    folder, results = verified
    assert not results.failures
    assert {c.road: c.labeller for c in results.comparisons} == {
        "base": "none",
        "online-dpo": "data",
        "online-dpo-verifier": "outside",
        "rloo@verifier": "outside",
        "best-of-n@verifier": "outside",
    }
    page = (folder / "report.html").read_text("utf-8")
    assert "Labelled from outside the data: <bdi>online-dpo-verifier, rloo@verifier, best" in page
    assert "labeller &#39;verifier&#39;: the function of the file checks.py" in page
    assert "a judge, a given reward model) is never counted as evidence" in results.verdict.rule


def test_no_reward_model_is_trained_for_them(where: Path):
    plan = prepare(asked(where, where / "checks.py", roads=("rloo@verifier",))).plan
    names = [j.spec["stage"]["name"] for j in plan.jobs.values() if j.kind == "stage"]
    assert names == ["selection-scorer", "rloo"] * 2


def test_the_ledger_counts_what_the_verifier_scored(verified: tuple[Path, Results]):
    rows = {row.road: row for row in verified[1].ledger}
    # Two rounds of eight prompts: two completions each, or the recipe's group of four.
    assert rows["online-dpo-verifier"].outside_queries == 2 * 8 * 2
    assert rows["rloo@verifier"].outside_queries == 2 * 8 * 4
    assert rows["online-dpo"].outside_queries == 0
    assert {rows[name].labels for name in ("online-dpo-verifier", "rloo@verifier")} == {0}


def test_its_scores_are_what_is_shown_as_the_labellers(verified: tuple[Path, Results]):
    """The proxy of best-of-N is the mean count of the word, which no text holds twenty times."""
    points = [p for p in verified[1].points if p.road == "best-of-n@verifier"]
    assert points
    assert all(p.proxy is not None and 0 <= p.proxy.value < 20 for p in points)


def test_another_file_is_other_work_for_those_roads_alone(where: Path, tmp_path: Path):
    def jobs(verifier: Path) -> dict[str, set[str]]:
        plan = prepare(asked(where, verifier)).plan
        return {c.road: {c.evaluation, *c.ancestors} for c in plan.cells}

    before = jobs(where / "checks.py")
    shutil.copyfile(where / "checks.py", tmp_path / "moved.py")
    assert jobs(tmp_path / "moved.py") == before, "content, not names"
    (tmp_path / "moved.py").write_text(COUNTS + "# two\n")
    after = jobs(tmp_path / "moved.py")
    same = {road for road in before if before[road] == after[road]}
    assert same == {"base", "dpo", "online-dpo"}
    assert not before["rloo@verifier"] & after["rloo@verifier"]


def test_the_report_is_made_again_without_the_file(where: Path, verified: tuple[Path, Results]):
    (where / "checks.py").rename(where / "away.py")
    try:
        again = rebuild(verified[0])
    finally:
        (where / "away.py").rename(where / "checks.py")
    assert again == verified[1]


def test_a_file_that_changes_during_the_run_stops_it(where: Path, tmp_path: Path):
    path = tmp_path / "checks.py"
    path.write_text(COUNTS)
    prepared = prepare(asked(where, path, roads=("rloo@verifier",), seeds=(0,)))
    path.write_text(COUNTS + "# another\n")
    with pytest.raises(RunFolderError, match="the file has changed while the run was going on"):
        compare(prepared, tmp_path / "run", tiny.Heard(), "command")


def test_an_error_in_the_middle_stops_the_run_and_the_mended_file_goes_on(
    where: Path, tmp_path: Path
):
    path = tmp_path / "checks.py"
    # It scores the trial's pair, and then stumbles over a longer batch.
    path.write_text(COUNTS.replace("    return", "    0 / (len(prompts) < 3)\n    return"))
    chosen = asked(where, path, roads=("rloo@verifier",), seeds=(0,))
    with pytest.raises(VerifierError, match=r"verify\(\) raised ZeroDivisionError.*\(line 3\)"):
        allroads.compare(out=tmp_path / "run", config=chosen)
    path.write_text(COUNTS)
    heard = tiny.Heard()
    results = allroads.compare(out=tmp_path / "run", config=chosen, listener=heard)
    assert not results.failures
    assert not [name for name in heard.worked if name.startswith("selection")], "that was done"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("def verify(p, c): return 1", r"verify\(\) returned 1; expected a list of 2, one number"),
        ("def verify(p): return [1]", r"verify\(\) raised TypeError"),
        ("def score(p, c): return [1]", r"expected a function verify\(prompts, completions\) in"),
    ],
)
def test_a_wrong_verifier_is_found_before_anything_is_written(
    where: Path, tmp_path: Path, body: str, message: str
):
    path = tmp_path / "checks.py"
    path.write_text(body)
    with pytest.raises((VerifierError, ConfigError), match=message) as error:
        allroads.compare(out=tmp_path / "run", config=asked(where, path))
    assert error.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def test_every_score_may_fail_where_the_policy_answers_alone(where: Path, tmp_path: Path):
    """Failures are left out of the labeller's mean; where nothing is left there is none."""
    path = tmp_path / "checks.py"
    path.write_text(
        "def verify(prompts, completions):\n"
        "    # Training rounds hold 8 prompts of 4 completions, the test 20 of one.\n"
        "    return [len(c) if len(set(prompts)) <= 8 else None for c in completions]\n"
    )
    chosen = asked(where, path, roads=("rloo@verifier",), seeds=(0,))
    results = allroads.compare(out=tmp_path / "run", config=chosen)
    assert [p.proxy for p in results.points if p.road == "rloo@verifier"] == [None]


# A judge ------------------------------------------------------------------------------------------


def shorter(asked: Asked) -> str:
    """One consistent opinion."""
    first, second = map(len, asked.answers)
    return "tie" if first == second else "1" if first < second else "2"


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a server that the test has broken."""
    monkeypatch.setattr("allroads.lab.outside.Chat", functools.partial(Chat, retries=0))


def by_judge(fake: Fake, **changes: Any) -> CompareConfig:
    chosen = {"roads": ["online-dpo@judge"], "snapshots": 1, **changes}
    return tiny.config(judge_url=fake.url, judge_model="m", **chosen)


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results, Fake]:
    """A run that nothing interrupted, and what its judge was asked. Do not write into it."""
    folder = tmp_path_factory.mktemp("judged") / "run"
    with serving(shorter) as fake:
        results = allroads.compare(out=folder, config=by_judge(fake))
    return folder, results, fake


def kept(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("cache/judge/*.json")}


def test_a_judge_labels_from_outside_and_the_ledger_counts_its_requests(
    judged: tuple[Path, Results, Fake],
):
    folder, results, fake = judged
    assert {c.road: c.labeller for c in results.comparisons} == {"online-dpo@judge": "outside"}
    assert "reward-model" not in tiny.stage_jobs(folder).values()
    names = [name_of(one.body) for one in fake.asked]
    assert len(names) == len(set(names)) == len(kept(folder)), "nothing is asked twice"
    (row,) = [row for row in results.ledger if row.road == "online-dpo@judge"]
    # Three rounds of 32 prompts, two completions each, both orders; equal texts are not asked
    # about, and a pair that comes again is paid for once but needed twice. The trial has two.
    assert len(names) - 2 <= row.outside_queries <= 3 * 32 * 2
    assert row.scorer_queries == 0
    lines = (folder / "metrics.jsonl").read_text()
    assert '"score": 0.5,' in lines, "of two completions one wins what the other loses"
    assert [p.proxy for p in results.points if p.road == "online-dpo@judge"] == [None]
    assert "compares every two completions of a prompt" in " ".join(results.notes)


def test_a_killed_run_asks_nothing_twice_and_ends_at_the_same_weights(
    judged: tuple[Path, Results, Fake], tmp_path: Path
):
    folder, process = tmp_path / "run", list[BaseProcess]()

    def deadly(one: Asked) -> str:
        if one.number == 80:  # in the second round: the first has 64 at most
            os.kill(process[0].pid or 0, signal.SIGKILL)
        return shorter(one)

    with serving(deadly) as fake:
        process.append(tiny.start(by_judge(fake), folder))
        process[0].join(120)
    assert process[0].exitcode == -signal.SIGKILL
    before = kept(folder)
    assert len(before) > 60
    with serving(shorter) as fake:  # at another address: a server may move
        results = allroads.compare(out=folder, config=by_judge(fake))
    assert not before & {name_of(one.body) for one in fake.asked}
    assert kept(folder) == kept(judged[0])
    assert tiny.trained(folder) == tiny.trained(judged[0])
    rows = [[row for row in r.ledger if row.road.endswith("judge")] for r in (results, judged[1])]
    assert rows[0][0].outside_queries == rows[1][0].outside_queries


def test_a_server_that_dies_ends_the_run_and_the_same_command_goes_on(
    judged: tuple[Path, Results, Fake], tmp_path: Path
):
    folder = tmp_path / "run"

    def dying(one: Asked) -> str | Said:
        return shorter(one) if one.number < 80 else Said(status=503, body=b"gone")

    with serving(dying) as fake, pytest.raises(JudgeError, match=r"HTTP 503, gone.*run the same"):
        allroads.compare(out=folder, config=by_judge(fake))
    assert not list(folder.glob("evaluations/evaluate-online*"))
    with serving(shorter) as fake:
        results = allroads.compare(out=folder, config=by_judge(fake))
    assert not results.failures, "a dead server is no failure of the road"
    assert len(fake.asked) == len(kept(judged[0])) - 80
    assert tiny.trained(folder) == tiny.trained(judged[0])


@pytest.mark.parametrize(
    ("behave", "message"),
    [
        (lambda one: "Let me think about", r"failed on a trial question \(unparsable answer: 'Let"),
        (lambda one: Said(status=503, body=b"gone"), r"trial question \(HTTP 503: 'gone'\)"),
        (lambda one: Said(status=404), r"HTTP 404: check --judge-url and --judge-model"),
        (lambda one: Said(status=401), r"or name another one with --judge-key-env"),
    ],
)
def test_a_judge_that_cannot_judge_is_found_before_training(
    behave: Behave, message: str, tmp_path: Path
):
    with serving(behave) as fake, pytest.raises(JudgeError, match=message):
        allroads.compare(out=tmp_path / "run", config=by_judge(fake))
    assert not list((tmp_path / "run").glob("checkpoints/*"))


def test_nobody_is_asked_where_no_work_wants_it(judged: tuple[Path, Results, Fake]):
    with serving(shorter) as fake:
        chosen = by_judge(fake, roads=["dpo"])
        try_labellers(chosen, prepare(chosen).plan.jobs, Path("nowhere"))
        finished = by_judge(fake)
        try_labellers(finished, prepare(finished).plan.jobs, judged[0])
    assert fake.asked == []


def test_train_asks_too_and_the_key_reaches_the_server_and_no_file(
    judged: tuple[Path, Results, Fake], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    key = "sk-test-0123456789abcdefghij"
    monkeypatch.setenv("MY_KEY", key)
    with serving(shorter) as fake:
        chosen = by_judge(fake, judge_key_env="MY_KEY")
        where = allroads.train("online-dpo@judge", out=tmp_path / "run", value=0.5, config=chosen)
    assert where.parent.name.startswith("online-dpo-b0.5-s0-")
    assert len(fake.asked) == len(kept(judged[0]))
    assert {one.headers["Authorization"] for one in fake.asked} == {f"Bearer {key}"}
    written = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert not [path for path in written if key.encode() in path.read_bytes()]
    assert files.read_json(tmp_path / "run/manifest.json")["config"]["judge_key_env"] == "MY_KEY"


def test_unreadable_replies_are_counted_in_the_report(tmp_path: Path):
    """Every fifth request is answered with chatter: its duel has no ruling, its pair no scores."""
    with serving(lambda one: "Hm." if one.number % 5 == 4 else shorter(one)) as fake:
        results = allroads.compare(out=tmp_path / "run", config=by_judge(fake, processes=1))
    assert not results.failures
    (note,) = [note for note in results.notes if "no score; left out" in note]
    assert note.startswith("online-dpo-b0.5-s0-")
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    rounds = {}
    for line in map(json.loads, lines):
        if line["job"].startswith("online"):
            rounds[line["round"]] = line["failed"]
    assert f"gave {round(sum(rounds.values()))} samples" in note
    assert all(failed % 2 == 0 for failed in rounds.values()), "a pair fails together"
    assert sum(rounds.values()) > 0


def test_best_of_n_by_a_judge_ranks_the_whole_pool(tmp_path: Path):
    """A shorter route wins: the best of two is shorter than one sample."""
    with serving(shorter) as fake:
        chosen = by_judge(fake, roads=["best-of-n@judge"], ns=[1, 2], pool=4, eval_prompts=6)
        results = allroads.compare(out=tmp_path / "run", config=chosen)
    length = {p.value: p.length.value for p in results.points if p.road == "best-of-n@judge"}
    assert length[2.0] < length[1.0]


# What is asked for --------------------------------------------------------------------------------


def test_the_address_is_no_part_of_the_work_but_the_model_is():
    def jobs(**changes: Any) -> set[str]:
        given = {"judge_url": "http://localhost:1", "judge_model": "m", **changes}
        return set(prepare(tiny.config(roads=["rloo@judge"], **given)).plan.jobs)

    assert jobs() == jobs(judge_url="http://localhost:2", judge_key_env="OTHER")
    assert jobs() != jobs(judge_model="n")
    assert jobs() != jobs(judge_max_tokens=500)


def test_neither_is_made_up(where: Path):
    with pytest.raises(ConfigError, match="road 'rloo@verifier' is labelled by a verifier, and no"):
        prepare(asked(where, None, roads=("rloo@verifier",)))
    with pytest.raises(ConfigError, match="road 'rloo@judge' is labelled by a judge, and none is"):
        prepare(tiny.config(roads=["rloo@judge"]))


def test_a_world_brings_its_own_verifier():
    plan = prepare(tiny.config(roads=["rloo@verifier"])).plan
    (cell,) = [c for c in plan.cells if c.road == "rloo@verifier"]
    assert cell.labeller == "outside"
    labeller = plan.jobs[cell.last or ""].spec["links"]["labeller"]
    assert labeller == {"id": "verifier", "origin": "outside"}


def test_export_says_why_there_is_no_model_of_it(where: Path, verified: tuple[Path, Results]):
    said = "'best-of-n@verifier' is scored from outside, by a verifier: it is no model"
    with pytest.raises(ConfigError, match=said):
        allroads.export(verified[0], "best-of-n@verifier", out=where / "exported")
