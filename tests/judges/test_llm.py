"""The pairwise judge: both orders, ties, failures that are never ties, nothing asked twice."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from allroads.errors import JudgeError
from allroads.judges.answers import Answers, name_of
from allroads.judges.client import Chat, endpoint
from allroads.judges.llm import UNPARSABLE, Duel, PairJudge
from allroads.judges.template import Template
from tests.judges.server import Asked, Said, reply, serving


def judge(url: str, folder: Path, **settings: Any) -> PairJudge:
    chat = {"timeout": 5.0, "retries": 1, "pause": 0.01}
    chat |= {name: settings.pop(name) for name in tuple(settings) if name in chat}
    return PairJudge(
        chat=Chat(url=endpoint(url), **chat),
        **{"model": "m", "answers": Answers(folder), "template": Template(), **settings},
    )


def silent(done: int, total: int) -> None:
    """Hear nothing."""


def longer(asked: Asked) -> str:
    """A judge with one consistent opinion."""
    first, second = asked.answers
    return "tie" if len(first) == len(second) else "1" if len(first) > len(second) else "2"


def duels(count: int) -> list[Duel]:
    return [Duel(prompt=f"p{k}", a=f"answer {k}", b=f"another {k}") for k in range(count)]


# Verdicts -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("forward", "backward", "winner", "one_sided"),
    [
        # The second request shows (b, a): its place 2 is a.
        ("1", "2", "a", False),
        ("2", "1", "b", False),
        ("1", "1", "tie", True),
        ("2", "2", "tie", True),
        ("tie", "tie", "tie", False),
        ("1", "tie", "tie", True),
        ("tie", "1", "tie", True),
    ],
)
def test_the_winner_needs_both_orders(
    tmp_path: Path, forward: str, backward: str, winner: str, one_sided: bool
):
    said = {("A", "B"): forward, ("B", "A"): backward}
    with serving(lambda a: said[a.answers]) as fake:
        (ruling,) = judge(fake.url, tmp_path).rule([Duel(prompt="p", a="A", b="B")], silent)
    assert (ruling.winner, ruling.one_sided, ruling.failure) == (winner, one_sided, None)
    assert sorted(a.answers for a in fake.asked) == [("A", "B"), ("B", "A")]


def test_rulings_come_in_order_whatever_is_answered_first(tmp_path: Path):
    def behave(asked: Asked) -> str:
        time.sleep(0.02 * (asked.number % 3))
        return longer(asked)

    rows = [Duel(prompt="p", a="x" * (k % 5 + 1), b="y" * 3) for k in range(15)]
    with serving(behave) as fake:
        rulings = judge(fake.url, tmp_path, workers=4).rule(rows, silent)
    expected = ["b", "b", "tie", "a", "a"] * 3
    assert [r.winner for r in rulings] == expected


def test_the_request_is_the_protocol_s(tmp_path: Path):
    with serving(longer) as fake:
        judge(fake.url, tmp_path, max_tokens=5).rule(duels(1), silent)
    for asked in fake.asked:
        assert set(asked.body) == {"model", "messages", "temperature", "max_tokens"}
        assert (asked.body["temperature"], asked.body["max_tokens"]) == (0.0, 5)
        assert [m["role"] for m in asked.body["messages"]] == ["user"]


def test_the_same_text_twice_is_a_tie_that_nobody_is_asked_about(tmp_path: Path):
    with serving(longer) as fake:
        (ruling,) = judge(fake.url, tmp_path).rule([Duel(prompt="p", a="x", b="x")], silent)
    assert (ruling.winner, ruling.identical, ruling.one_sided) == ("tie", True, False)
    assert fake.asked == []


def test_long_texts_are_cut_and_that_is_told(tmp_path: Path):
    rows = [
        Duel(prompt="old " * 50 + "last words", a="good start" + "x" * 99, b="b"),
        Duel(prompt="p", a="a" * 20, b="b"),
    ]
    with serving(longer) as fake:
        rulings = judge(fake.url, tmp_path, max_chars=20).rule(rows, silent)
    assert [r.cut for r in rulings] == [True, False]
    shown = next(a for a in fake.asked if "last words" in a.text)
    assert "good start" + "x" * 10 + "[...]" in shown.text
    assert "[...]ld old last words" not in shown.text
    assert "last words\n" in shown.text
    assert "old " * 3 not in shown.text


# Failures -----------------------------------------------------------------------------------------


def test_every_failure_has_its_kind_and_none_is_a_tie(tmp_path: Path):
    said = {
        "p0": "I like both",
        "p1": Said(500),
        "p2": Said(429),
        "p3": Said(400, {"error": {"message": "too long"}}),
        "p4": Said(body=b"<html>"),
        "p5": Said(body=reply(None)),
        "p6": "tie",
    }
    with serving(lambda a: next(s for p, s in said.items() if f"\n{p}\n" in a.text)) as fake:
        rulings = judge(fake.url, tmp_path).rule(duels(7), silent)
    kinds = [UNPARSABLE, "HTTP 500", "HTTP 429", "HTTP 400", "not the protocol", UNPARSABLE, None]
    assert [r.failure for r in rulings] == kinds
    assert [r.winner for r in rulings] == [None] * 6 + ["tie"]
    assert (rulings[0].detail, rulings[3].detail) == ("I like both", "too long")
    times = Counter(next(p for p in said if f"\n{p}\n" in a.text) for a in fake.asked)
    assert times == {p: 4 if p in ("p1", "p2") else 2 for p in said}


def test_one_order_that_fails_spoils_the_duel(tmp_path: Path):
    with serving(lambda a: "1" if a.answers[0] == "A" else "well ...") as fake:
        (ruling,) = judge(fake.url, tmp_path).rule([Duel(prompt="p", a="A", b="B")], silent)
    assert (ruling.winner, ruling.failure, ruling.picks) == (None, UNPARSABLE, ())


def test_a_server_that_never_replies_is_not_asked_for_ever(tmp_path: Path):
    with serving(lambda _: Said(500, {"error": "down"})) as fake:
        asker = judge(fake.url, tmp_path, retries=0, workers=2)
        with pytest.raises(JudgeError, match=r"12 requests in a row .* HTTP 500, down"):
            asker.rule(duels(100), silent)
    assert len(fake.asked) <= 12 + 1  # and what the other worker had already sent


def test_failures_between_replies_do_not_stop_it(tmp_path: Path):
    with serving(lambda a: Said(500) if a.number % 2 else longer(a)) as fake:
        rulings = judge(fake.url, tmp_path, retries=0, workers=1).rule(duels(30), silent)
    assert [r.failure for r in rulings] == ["HTTP 500"] * 30


def test_a_refused_key_stops_at_once(tmp_path: Path):
    with serving(lambda _: Said(401)) as fake:
        with pytest.raises(JudgeError, match="OPENAI_API_KEY"):
            judge(fake.url, tmp_path, workers=2).rule(duels(50), silent)
    assert len(fake.asked) <= 4
    assert list(tmp_path.iterdir()) == []


# Concurrency --------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 3])
def test_never_more_requests_at_a_time_than_workers(tmp_path: Path, workers: int):
    def behave(asked: Asked) -> str:
        time.sleep(0.05)
        return longer(asked)

    with serving(behave) as fake:
        judge(fake.url, tmp_path, workers=workers).rule(duels(8), silent)
    # Sixteen requests of 0.05 s: with three workers some of them must have met.
    assert fake.at_once <= workers
    assert (fake.at_once > 1) == (workers > 1)


def test_the_listener_hears_every_reply(tmp_path: Path):
    heard: list[tuple[int, int]] = []
    with serving(longer) as fake:
        judge(fake.url, tmp_path).rule(duels(3), lambda d, t: heard.append((d, t)))
    assert heard == [(k, 6) for k in range(7)]


# Nothing is asked twice ---------------------------------------------------------------------------


def test_a_repeated_judging_asks_nothing(tmp_path: Path):
    with serving(lambda a: "hm" if "p0" in a.text else longer(a)) as fake:
        first = judge(fake.url, tmp_path).rule(duels(5), silent)
        assert len(fake.asked) == 10
        again = judge(fake.url, tmp_path).rule(duels(5), silent)
        more = judge(fake.url, tmp_path).rule([*duels(6), *duels(6)], silent)
        assert len(fake.asked) == 12
    assert again == first == more[:5] == more[6:11]
    assert first[0].failure == UNPARSABLE


@pytest.mark.parametrize(
    "change", [{"model": "n"}, {"temperature": 0.5}, {"max_tokens": 9}, {"max_chars": 4},
               {"template": Template("{first}{second}{prompt}")}],
)  # fmt: skip
def test_another_request_is_another_answer(tmp_path: Path, change: dict[str, Any]):
    with serving(lambda _: "1") as fake:
        judge(fake.url, tmp_path).rule(duels(1), silent)
        judge(fake.url, tmp_path, **change).rule(duels(1), silent)
        assert len(fake.asked) == 4


def test_replies_are_kept_raw_beside_their_requests(tmp_path: Path):
    with serving(lambda _: " maybe 1?\n\ud83d ") as fake:
        judge(fake.url, tmp_path).rule(duels(1), silent)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    for path in files:
        kept = json.loads(path.read_text("utf-8"))
        assert name_of(kept["request"]) == path.stem
        assert kept["request"] in [a.body for a in fake.asked]
        assert kept["reply"]["text"] == " maybe 1?\n\ud83d "


def test_failures_of_the_transport_are_asked_again_next_time(tmp_path: Path):
    with serving(lambda a: Said(500) if a.number < 2 else longer(a)) as fake:
        asker = judge(fake.url, tmp_path, retries=0, workers=1)
        assert asker.rule(duels(1), silent)[0].failure == "HTTP 500"
        assert list(tmp_path.iterdir()) == []
        assert asker.rule(duels(1), silent)[0].winner == "b"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"reply": {}}', '{"reply": {"x": 1}}'])
def test_a_damaged_file_is_asked_again(tmp_path: Path, content: str):
    with serving(longer) as fake:
        judge(fake.url, tmp_path).rule(duels(1), silent)
        next(tmp_path.iterdir()).write_text(content)
        (ruling,) = judge(fake.url, tmp_path).rule(duels(1), silent)
        assert len(fake.asked) == 3
    assert ruling.winner == "b"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process that can be cloned")
def test_a_killed_judging_goes_on_where_it_was(tmp_path: Path):
    """Killed while the server holds the eighth request back: seven are kept, none is torn."""
    held, go_on = threading.Event(), threading.Event()

    def behave(asked: Asked) -> str:
        if asked.number == 7:
            held.set()
            go_on.wait(60)
        return longer(asked)

    # Cloned before the server's threads are there, and told by a pipe where it listens.
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            url = os.read(told, 1000).decode()
            judge(url, tmp_path, workers=1, timeout=60).rule(duels(20), silent)
        finally:
            os._exit(1)
    with serving(behave) as fake:
        os.write(tell, fake.url.encode())
        try:
            assert held.wait(60)
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            os.close(told)
            os.close(tell)
        go_on.set()
        assert len(list(tmp_path.glob("*.json"))) == 7
        rulings = judge(fake.url, tmp_path).rule(duels(20), silent)
        times = Counter(json.dumps(a.body) for a in fake.asked)
    assert [r.winner for r in rulings] == ["b"] * 20
    assert len(times) == 40
    # Only the request that was under way is sent twice.
    assert sorted(times.values()) == [1] * 39 + [2]
