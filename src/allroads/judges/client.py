"""One request of the OpenAI chat-completions protocol: bounded in time, and silent about its key.

Decided here
  1. Python's own urllib: one POST is all that is needed, and no client package decides about
     retries, time-outs and redirects behind our back.
  2. Redirects are refused: the key would travel to a host that the user did not name.
  3. A proxy of the environment is used, but never for this machine itself.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from allroads.errors import ConfigError, JudgeError

_LARGEST = 4_000_000
"""Bytes of a response; a chat completion of a few tokens has a thousandth of them."""
_QUOTED = 200
"""Characters of a server's own message that are passed on."""
_LONGEST_PAUSE = 30.0
"""Seconds that a server may ask to wait (Retry-After)."""
_HIDDEN = "[key]"
_SHORTEST_KEY = 8
"""Shorter values of the key's variable (EMPTY, none, 1) are stand-ins, not secrets."""
_AGAIN = {408, 425, 429, 500, 502, 503, 504, 529}
"""HTTP statuses after which the same request may succeed."""
_USELESS = {301, 302, 303, 307, 308, 404, 405}
"""HTTP statuses that every request would meet: the address or the model's name is wrong."""


@dataclass(frozen=True)
class Reply:
    """What the model said."""

    text: str
    """Of the first choice; '' where there is none."""
    cut: bool
    """Ended by the limit of tokens, not by the model."""
    model: str
    """The name that the server gives to the model that answered."""
    seconds: float
    """From sending the request to holding the answer."""


@dataclass(frozen=True)
class Trouble:
    """Why there is no reply: a failure of the transport, never an opinion of the model."""

    kind: str
    """'time-out', 'no connection', 'HTTP 429', 'not the protocol', ..."""
    detail: str
    again: bool = False
    """Whether the same request may succeed later."""
    wait: float = 0.0
    """Seconds that the server asks to wait."""


def check_key_name(variable: str, flags: str = "--") -> None:
    """Refuse what cannot be the name of an environment variable.

    Args:
        variable: the name. It is not quoted: it may be the key itself by mistake.
        flags: what the command's flags begin with, as in `Chat`.

    Raises:
        ConfigError: one line that names the flag.
    """
    if not re.fullmatch(r"[A-Z_][A-Z0-9_]*", variable):
        raise ConfigError(
            f"{flags}key-env takes the NAME of an environment variable (capitals, digits and _), "
            "never the key itself; put the key into the environment, for example OPENAI_API_KEY"
        )


def key_from(variable: str, flags: str = "--") -> str:
    """The key that an environment variable holds; '' where it is not set (local servers need none).

    Raises:
        ConfigError: when the name cannot be a variable's, or its value cannot be a key. Neither is
            quoted: the one may be the other by mistake.
    """
    check_key_name(variable, flags)
    key = os.environ.get(variable, "").strip()
    if any(not "!" <= letter <= "~" for letter in key):
        raise ConfigError(
            f"the environment variable {variable} holds white space or unusual characters inside, "
            "which no key has; set it again (its value is not shown)"
        )
    return key


def endpoint(url: str, flags: str = "--") -> str:
    """The address to post to, from a server's address with or without /v1 and /chat/completions.

    Raises:
        ConfigError: when it is no http(s) address, or holds credentials, a query or a fragment,
            which would be written into the run folder. They are not quoted.
    """
    try:
        parts = urllib.parse.urlsplit(url.strip())
        host, _ = parts.hostname, parts.port
    except ValueError:
        parts, host = urllib.parse.urlsplit(""), None
    plain = all("!" <= letter <= "~" for letter in url.strip())
    # Before anything that quotes: a password may stand in front of any @.
    if "@" in url:
        raise ConfigError(
            f"{flags}url holds credentials (an @); give them by an environment variable instead, "
            f"see {flags}key-env"
        )
    if parts.query or parts.fragment:
        raise ConfigError(
            f"{flags}url has a query or a fragment (? or #), where keys tend to stand; give the "
            "plain address, for example http://localhost:8000/v1"
        )
    if parts.scheme not in ("http", "https") or not host or not plain:
        raise ConfigError(
            f"{flags}url {url!r}: expected the address of a server of the OpenAI chat-completions "
            "protocol, for example http://localhost:8000/v1"
        )
    path = parts.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        path = (path or "/v1") + "/chat/completions"
    return urllib.parse.urlunsplit((parts.scheme, parts.netloc, path, "", ""))


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect; it then counts as an HTTP error."""

    def redirect_request(self, *_: Any) -> None:
        """Refuse."""


@dataclass(frozen=True, kw_only=True)
class Chat:
    """A server of the protocol.

    Args:
        url: from `endpoint`.
        key: sent as a bearer token, or ''; never shown: replies and errors that hold it hide it.
        key_env: the variable that it came from, for messages.
        timeout: seconds that one attempt may take.
        retries: further attempts after a time-out, a lost connection, or HTTP 408, 429 or 5xx.
        pause: seconds before the first further attempt; twice as long before each next one.
        flags: what the flags begin with that this server comes from, for messages.
    """

    url: str
    key: str = field(default="", repr=False)
    key_env: str = "OPENAI_API_KEY"
    timeout: float = 60.0
    retries: int = 2
    pause: float = 0.5
    flags: str = "--"

    @property
    def patience(self) -> float:
        """Seconds after which no further attempt is begun: those of all attempts and pauses."""
        return self.timeout * (self.retries + 1) + self.pause * (2**self.retries - 1)

    def ask(self, request: Mapping[str, Any], stopped: threading.Event) -> Reply | Trouble:
        """Post one request; blocks for little more than `patience` seconds.

        Args:
            request: the body, with model and messages.
            stopped: once set, no further attempt is made.

        Raises:
            JudgeError: when no request at all can succeed: HTTP 401, 404, 405 or a redirect.
        """
        begun, pause = time.monotonic(), self.pause
        trouble = Trouble("stopped", "stopped before it was sent")
        for attempt in range(self.retries + 1):
            if stopped.is_set():
                break
            answer = self._once(request)
            if isinstance(answer, Reply) or not answer.again:
                return answer
            trouble = answer
            wait = max(pause, min(answer.wait, _LONGEST_PAUSE))
            if attempt == self.retries or time.monotonic() - begun + wait > self.patience:
                break
            stopped.wait(wait)
            pause *= 2
        return trouble

    def _once(self, request: Mapping[str, Any]) -> Reply | Trouble:
        headers = {"Content-Type": "application/json", "User-Agent": "allroads"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        post = urllib.request.Request(self.url, json.dumps(request).encode(), headers)
        host = urllib.parse.urlsplit(self.url).hostname or ""
        here = host in ("localhost", "::1") or host.startswith("127.")
        handlers = [_Stay(), urllib.request.ProxyHandler({})] if here else [_Stay()]
        since = time.monotonic()
        try:
            with urllib.request.build_opener(*handlers).open(post, timeout=self.timeout) as got:
                body = _read(got, since + self.timeout)
        except urllib.error.HTTPError as error:
            with error:
                return self._refused(error)
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                return Trouble("time-out", f"no answer within {self.timeout:g} s", again=True)
            return Trouble("no connection", self._hide(str(reason)), again=True)
        return self._parsed(body, time.monotonic() - since)

    def _parsed(self, body: bytes, seconds: float) -> Reply | Trouble:
        try:
            content = json.loads(body)
            choice = content["choices"][0]
            text = choice["message"].get("content")
            if not isinstance(text, str | None):
                raise TypeError("the content is no text")
            model, cut = str(content.get("model", "")), choice.get("finish_reason") == "length"
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            said = body[:_QUOTED].decode("utf-8", "replace")
            return Trouble("not the protocol", self._hide(f"the server answered {said!r}"))
        return Reply(self._hide(text or ""), cut, self._hide(model), seconds)

    def _refused(self, error: urllib.error.HTTPError) -> Trouble:
        """What an HTTP error means. A 401 is not quoted: servers repeat parts of the key there."""
        if error.code == 401:
            what = "refuses the key" if self.key else "asks for a key, and found none"
            raise JudgeError(
                f"the judge's server {what} (HTTP 401): put a valid key into the environment "
                f"variable {self.key_env}, or name another one with {self.flags}key-env. Answers "
                "so far are kept"
            ) from None
        said = self._hide(_message(error))
        if error.code in _USELESS:
            raise JudgeError(
                f"{self.url} answers HTTP {error.code}: check {self.flags}url and "
                f"{self.flags}model ({said})"
            ) from None
        return Trouble(
            f"HTTP {error.code}", said, again=error.code in _AGAIN, wait=_seconds(error.headers)
        )

    def _hide(self, text: str) -> str:
        return text.replace(self.key, _HIDDEN) if len(self.key) >= _SHORTEST_KEY else text


def _read(response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The body, within the time of the attempt even where it comes in drops."""
    parts: list[bytes] = []
    while block := response.read1(1 << 16):
        parts.append(block)
        if time.monotonic() > deadline:
            raise TimeoutError
        if sum(map(len, parts)) > _LARGEST:
            break
    return b"".join(parts)


def _message(error: urllib.error.HTTPError) -> str:
    """The server's own words, in one line."""
    try:
        body = error.read(1 << 16)
    except (OSError, http.client.HTTPException):
        return str(error.reason)
    try:
        said = json.loads(body)["error"]
        text = str(said["message"] if isinstance(said, dict) else said)
    except (ValueError, LookupError, TypeError, RecursionError):
        text = body.decode("utf-8", "replace")
    return " ".join(text.split()) or str(error.reason)


def _seconds(headers: Any) -> float:
    """What Retry-After asks for; 0 where it is absent or a date."""
    try:
        return max(0.0, float(headers.get("Retry-After", 0)))
    except ValueError:
        return 0.0
