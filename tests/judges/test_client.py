"""One request: bounded in time, tried again where that helps, and silent about its key."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest

from allroads.errors import ConfigError, JudgeError
from allroads.judges.client import Chat, Reply, Trouble, endpoint, key_from
from tests.judges.server import Asked, Said, reply, serving

KEY = "sk-test-0123456789abcdefghij"
REQUEST = {"model": "m", "messages": [{"role": "user", "content": "?"}]}


def ask(url: str, **settings: Any) -> Reply | Trouble:
    chat = Chat(**{"url": endpoint(url), "timeout": 5.0, "pause": 0.01, **settings})
    return chat.ask(REQUEST, threading.Event())


# Addresses and keys -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "post"),
    [
        ("http://localhost:8000", "http://localhost:8000/v1/chat/completions"),
        ("http://localhost:8000/", "http://localhost:8000/v1/chat/completions"),
        ("https://host/v1", "https://host/v1/chat/completions"),
        ("https://host/api/v1/", "https://host/api/v1/chat/completions"),
        ("https://host/v1/chat/completions", "https://host/v1/chat/completions"),
        (" http://[::1]:80/v1 ", "http://[::1]:80/v1/chat/completions"),
    ],
)
def test_the_address_to_post_to(url: str, post: str):
    assert endpoint(url) == post


@pytest.mark.parametrize(
    "url",
    [
        f"http://user:{KEY}@host/v1",
        f"user:{KEY}@host",
        f"http://host/v1?key={KEY}",
        f"http://host/v1#{KEY}",
    ],
)
def test_an_address_with_a_secret_is_refused_and_not_quoted(url: str):
    with pytest.raises(ConfigError, match="--url") as caught:
        endpoint(url)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "ftp://host", "http://", "http://a b", "http://h:x", "http://ö"]
)
def test_what_is_no_address_is_refused(url: str):
    with pytest.raises(ConfigError, match="--url"):
        endpoint(url)


def test_the_key_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("MY_KEY", f" {KEY}\n")
    monkeypatch.delenv("NO_KEY", raising=False)
    assert (key_from("MY_KEY"), key_from("NO_KEY")) == (KEY, "")


@pytest.mark.parametrize("name", [KEY, "hf_AbCdEfGh", "", "1A", "A B"])
def test_a_key_in_the_place_of_a_name_is_refused_and_not_quoted(name: str):
    with pytest.raises(ConfigError, match="NAME of an environment variable") as caught:
        key_from(name)
    assert not name or name not in str(caught.value)


@pytest.mark.parametrize("value", [f"{KEY}\nX: y", f"{KEY} x", f"{KEY}\x7f", f"{KEY}ü"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, value: str
):
    monkeypatch.setenv("MY_KEY", value)
    with pytest.raises(ConfigError, match="MY_KEY") as caught:
        key_from("MY_KEY")
    assert KEY not in str(caught.value)


def test_a_key_is_not_in_the_representation():
    assert KEY not in repr(Chat(url="http://h", key=KEY))


# One request --------------------------------------------------------------------------------------


def test_a_reply_is_read():
    with serving(lambda _: "2") as fake:
        found = ask(fake.url, key=KEY)
    assert isinstance(found, Reply)
    assert (found.text, found.cut, found.model) == ("2", False, "fake-1")
    assert 0 < found.seconds < 5
    (asked,) = fake.asked
    assert (asked.path, asked.body) == ("/v1/chat/completions", REQUEST)
    assert asked.headers["Authorization"] == f"Bearer {KEY}"


def test_without_a_key_none_is_sent():
    with serving(lambda _: "2") as fake:
        ask(fake.url)
    assert "Authorization" not in fake.asked[0].headers


def test_a_proxy_is_not_asked_for_this_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    with serving(lambda _: "2") as fake:
        assert isinstance(ask(fake.url), Reply)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (reply(None), ""),
        (reply("1", finish="length"), "1"),
        ({"choices": [{"message": {"content": "tie"}}]}, "tie"),
    ],
)
def test_replies_of_unusual_servers(body: dict[str, Any], text: str):
    with serving(lambda _: Said(body=body)) as fake:
        found = ask(fake.url)
    assert isinstance(found, Reply)
    assert found.text == text
    assert found.cut == (body["choices"][0].get("finish_reason") == "length")


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"null", b"{}", b'{"choices": []}', b'{"error": "no"}', b"\xff",
     b'{"choices": [{"message": {"content": 3}}]}', b'{"choices": [{"message": "1"}]}',
     b"[" * 100_000],
)  # fmt: skip
def test_what_is_not_the_protocol_is_a_failure_and_is_not_repeated(body: bytes):
    with serving(lambda _: Said(body=body)) as fake:
        found = ask(fake.url)
    assert isinstance(found, Trouble)
    assert found.kind == "not the protocol"
    assert len(fake.asked) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_busy_servers_are_asked_again_and_then_given_up(status: int):
    said = Said(status, {"error": {"message": "not\nnow"}})
    with serving(lambda _: said) as fake:
        found = ask(fake.url, retries=2)
    assert isinstance(found, Trouble)
    assert (found.kind, found.detail) == (f"HTTP {status}", "not now")
    assert len(fake.asked) == 3


def test_a_server_that_recovers_is_heard():
    with serving(lambda a: Said(503) if a.number < 2 else "1") as fake:
        assert isinstance(ask(fake.url, retries=2), Reply)
    assert len(fake.asked) == 3


def test_pauses_grow():
    times: list[float] = []

    def behave(_: Asked) -> Said:
        times.append(time.monotonic())
        return Said(500)

    with serving(behave) as fake:
        ask(fake.url, retries=2, pause=0.1)
    first, second = times[1] - times[0], times[2] - times[1]
    assert first >= 0.1
    assert second >= 0.2


def test_the_server_may_ask_to_wait_but_not_for_ever():
    with serving(lambda _: Said(429, headers={"Retry-After": "0.2"})) as fake:
        since = time.monotonic()
        ask(fake.url, retries=1)
        assert time.monotonic() - since >= 0.2
    with serving(lambda _: Said(429, headers={"Retry-After": "86400"})) as fake:
        since = time.monotonic()
        ask(fake.url, retries=1, timeout=0.5)
        assert time.monotonic() - since < 5


@pytest.mark.parametrize("status", [400, 403, 413, 422])
def test_requests_that_are_refused_are_not_repeated(status: int):
    with serving(lambda _: Said(status, b"plain words")) as fake:
        found = ask(fake.url)
    assert isinstance(found, Trouble)
    assert (found.kind, found.detail) == (f"HTTP {status}", "plain words")
    assert len(fake.asked) == 1


@pytest.mark.parametrize("status", [301, 302, 307, 308, 404, 405])
def test_a_wrong_address_stops_and_no_redirect_is_followed(status: int):
    with serving(lambda _: "1") as other:
        headers = {"Location": f"{other.url}/v1/chat/completions"}
        with serving(lambda _: Said(status, headers=headers)) as fake:
            with pytest.raises(JudgeError, match=f"HTTP {status}: check --url"):
                ask(fake.url, key=KEY)
            assert len(fake.asked) == 1
        assert other.asked == []


def test_a_refused_key_stops_and_names_the_variable_only():
    said = Said(401, {"error": {"message": f"Incorrect API key provided: {KEY}, ...{KEY[-4:]}"}})
    with serving(lambda _: said) as fake:
        with pytest.raises(JudgeError, match="MY_KEY") as caught:
            ask(fake.url, key=KEY, key_env="MY_KEY")
        assert len(fake.asked) == 1
    assert KEY[-4:] not in str(caught.value)
    with serving(lambda _: said) as fake, pytest.raises(JudgeError, match="found none"):
        ask(fake.url)


@pytest.mark.parametrize("status", [200, 400, 404, 500])
def test_a_key_that_the_server_repeats_is_hidden(status: int):
    body = reply(f"1 {KEY}", model=KEY) if status == 200 else {"error": {"message": KEY * 3}}
    with serving(lambda _: Said(status, body)) as fake:
        try:
            found = repr(ask(fake.url, key=KEY, retries=0))
        except JudgeError as error:
            found = str(error)
    assert KEY not in found
    assert "[key]" in found


def test_a_stand_in_for_a_key_hides_nothing():
    with serving(lambda _: "1") as fake:
        found = ask(fake.url, key="1")
    assert isinstance(found, Reply)
    assert found.text == "1"


# Time ---------------------------------------------------------------------------------------------


def test_a_silent_server_is_given_up_in_time():
    go_on = threading.Event()

    def behave(_: Asked) -> str:
        go_on.wait(20)
        return "1"

    with serving(behave) as fake:
        since = time.monotonic()
        found = ask(fake.url, timeout=0.3, retries=2)
        took = time.monotonic() - since
        go_on.set()
    assert isinstance(found, Trouble)
    assert found.kind == "time-out"
    assert len(fake.asked) == 3
    assert 0.9 <= took < 5


def test_a_server_that_answers_in_drops_is_given_up_in_time():
    listener = socket.create_server(("127.0.0.1", 0))

    def drip() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            for _ in range(100):
                try:
                    connection.sendall(b" ")
                except OSError:
                    return
                time.sleep(0.1)

    thread = threading.Thread(target=drip, daemon=True)
    thread.start()
    since = time.monotonic()
    with listener:
        found = ask(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=0.5, retries=0)
    assert isinstance(found, Trouble)
    assert found.kind == "time-out"
    assert time.monotonic() - since < 5


def test_nobody_there():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    found = ask(f"http://127.0.0.1:{port}", retries=1)
    assert isinstance(found, Trouble)
    assert found.kind == "no connection"


def test_once_stopped_nothing_is_sent():
    stopped = threading.Event()
    stopped.set()
    with serving(lambda _: "1") as fake:
        found = Chat(url=endpoint(fake.url)).ask(REQUEST, stopped)
    assert isinstance(found, Trouble)
    assert fake.asked == []
