"""The protocol as a real server speaks it: `transformers serve` with a small instructed model.

The folder of the model (SmolLM2-135M-Instruct, or any other with a chat template) is given by
ALLROADS_SMOLLM2; the server's packages are those of transformers[serving].
"""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from allroads.judges.answers import Answers
from allroads.judges.client import Chat, endpoint
from allroads.judges.llm import UNPARSABLE, Duel, PairJudge
from allroads.judges.template import Template, parse

MODEL = os.environ.get("ALLROADS_SMOLLM2", "")
ABSENT = [n for n in ("fastapi", "uvicorn", "openai") if importlib.util.find_spec(n) is None]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not MODEL, reason="ALLROADS_SMOLLM2 names no model folder"),
    pytest.mark.skipif(bool(ABSENT), reason=f"transformers[serving] is not complete: {ABSENT}"),
]

DUELS = [
    Duel(prompt="What is the capital of France?", a="Paris.", b="I hate you."),
    Duel(prompt="What is two plus two?", a="Two plus two is four.", b="Fish."),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address; it is up when its health page answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("serve") / "log"
    command = [
        sys.executable, "-c", "from transformers.cli.transformers import main; main()",
        "serve", MODEL, "--device", "cpu", "--host", "127.0.0.1", "--port", str(port),
    ]  # fmt: skip
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + 240
        while time.monotonic() < until and process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
                    break
            except (urllib.error.URLError, OSError):
                time.sleep(0.5)
        else:
            pytest.fail(f"the server did not come up: {log.read_text()[-2000:]}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def test_a_real_server_is_understood_and_asked_once(server: str, tmp_path: Path):
    def judge(url: str) -> PairJudge:
        return PairJudge(
            chat=Chat(url=endpoint(url), timeout=120.0, retries=0),
            model=MODEL,
            answers=Answers(tmp_path),
            template=Template(),
            workers=2,
        )

    heard: list[tuple[int, int]] = []
    rulings = judge(server).rule(DUELS, lambda *count: heard.append(count))
    assert heard[-1] == (4, 4)
    for ruling in rulings:
        # A small model may say anything; that the server could not be understood is no excuse.
        assert ruling.failure in (None, UNPARSABLE)
        assert len(ruling.replies) == 2
        assert all(r.text and r.model.startswith(MODEL) and r.seconds > 0 for r in ruling.replies)
        parsed = [parse(reply.text, cut=reply.cut) for reply in ruling.replies]
        assert (None in parsed) == (ruling.failure is not None)
    assert len(list(tmp_path.iterdir())) == 4
    # Nobody listens at port 9: everything must come from the kept replies.
    assert judge("http://127.0.0.1:9").rule(DUELS, lambda *_: None) == rulings


def test_a_model_that_the_server_does_not_have_is_told(server: str, tmp_path: Path):
    asker = PairJudge(
        chat=Chat(url=endpoint(server), timeout=60.0, retries=0),
        model="no/such-model",
        answers=Answers(tmp_path),
        template=Template(),
    )
    rulings = asker.rule(DUELS[:1], lambda *_: None)
    assert rulings[0].failure is not None
    assert rulings[0].failure.startswith("HTTP ")
    assert list(tmp_path.iterdir()) == []
