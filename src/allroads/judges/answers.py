"""What a judge has answered, kept raw: a killed or repeated judging asks nothing twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from allroads import files
from allroads.judges.client import Reply

Request = Mapping[str, Any]
"""The body of a request: model, messages, temperature, limit of tokens."""


def name_of(request: Request) -> str:
    """A hash of the whole request. The server's address is no part of it: it may move."""
    text = json.dumps(request, sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


class Answers:
    """A folder of one file for each request, whole or absent; safe for threads.

    A reply without a verdict is an answer too and is kept; a failure of the transport is not, so
    that the next judging tries again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, name: str) -> Reply | None:
        """The reply to the request of that name, if there is one; an unreadable file is none."""
        try:
            return Reply(**files.read_json(self._folder / f"{name}.json")["reply"])
        except (OSError, ValueError, LookupError, TypeError):
            return None

    def put(self, name: str, request: Request, reply: Reply) -> None:
        """Keep a reply beside the request that it answers."""
        value = {"request": dict(request), "reply": asdict(reply)}
        files.write_json(self._folder / f"{name}.json", value)
