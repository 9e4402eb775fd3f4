"""A small server of the chat-completions protocol whose behaviour a test decides."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behave = Callable[["Asked"], "str | Said"]
"""What the server says to a request: the text of a reply, or a whole response."""


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    body: dict[str, Any]
    headers: dict[str, str]
    path: str
    number: int
    """From 0, over all requests."""

    @property
    def text(self) -> str:
        return self.body["messages"][-1]["content"]

    @property
    def answers(self) -> tuple[str, str]:
        """The two answers of the built-in template, in the order in which they were shown."""
        found = re.findall(r"Answer [12]:\n\[(\w+)\]\n(.*?)\n\[/\1\]", self.text, re.DOTALL)
        (_, first), (_, second) = found
        return first, second


@dataclass(frozen=True)
class Said:
    """A response that is no plain reply."""

    status: int = 200
    body: bytes | dict[str, Any] = b""
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Fake:
    """The running server."""

    url: str
    asked: list[Asked] = field(default_factory=list)
    """In the order of their arrival."""
    at_once: int = 0
    """The most requests that were open at a time."""


def reply(text: str | None, *, finish: str = "stop", model: str = "fake-1") -> dict[str, Any]:
    """A chat completion as the protocol has it."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": finish, "message": message}
    return {"object": "chat.completion", "model": model, "choices": [choice]}


@contextlib.contextmanager
def serving(behave: Behave) -> Iterator[Fake]:
    """A server on a free port of this machine."""
    lock, running = threading.Lock(), 0

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            nonlocal running
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                asked = Asked(body, dict(self.headers), self.path, len(fake.asked))
                fake.asked.append(asked)
                running += 1
                fake.at_once = max(fake.at_once, running)
            try:
                said = behave(asked)
            finally:
                with lock:
                    running -= 1
            if isinstance(said, str):
                said = Said(body=reply(said))
            content = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
            with contextlib.suppress(OSError):  # the client may have given up
                self.send_response(said.status)
                for name, value in {"Content-Length": str(len(content)), **said.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake = Fake(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
