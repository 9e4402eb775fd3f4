"""A language model as a judge of two answers, asked in both orders.

A judge of this kind prefers a place as well as an answer, so the winner needs both orders to
agree; otherwise it is a tie. It is an outside judge: it brings what the preferences do not say.

Source: Zheng et al. 2023, arXiv:2306.05685, section 3.4 (swap positions, a tie when they differ).
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Literal

from allroads.errors import JudgeError
from allroads.judges.answers import Answers, Request, name_of
from allroads.judges.client import Chat, Reply, Trouble
from allroads.judges.template import Pick, Template, parse

UNPARSABLE = "unparsable answer"
_HOPELESS = 12
"""Requests in a row without any reply after which the server is not asked any more."""
_MARK = "[...]"
"""Stands where a text was cut."""


@dataclass(frozen=True, kw_only=True)
class Duel:
    """Two answers to one prompt, as text."""

    prompt: str
    a: str
    b: str


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """What the judge says about a duel: a winner or a tie, or the reason why there is none."""

    winner: Literal["a", "b", "tie"] | None = None
    failure: str | None = None
    """The kind of failure of the first order that failed."""
    detail: str = ""
    """The failure in the server's or the model's own words."""
    picks: tuple[Pick, ...] = ()
    """By order, (a, b) then (b, a): the place that was preferred. Empty where nothing was asked."""
    cut: bool = False
    """Whether a text was longer than the judge's limit."""
    replies: tuple[Reply, ...] = ()
    """What the model said, as far as it said anything."""

    @property
    def identical(self) -> bool:
        """A tie because the two texts are the same: nothing was asked."""
        return self.winner == "tie" and not self.picks

    @property
    def one_sided(self) -> bool:
        """Whether the two orders disagree: the verdict went with the place."""
        return bool(self.picks) and _winner(self.picks[0]) != _winner(self.picks[1], swapped=True)


Listener = Callable[[int, int], None]
"""Told (requests answered, requests in all)."""


@dataclass(frozen=True, kw_only=True)
class PairJudge:
    """A pairwise judge over the chat-completions protocol.

    Args:
        chat: the server.
        model: the name that the server knows the model by.
        answers: where replies are kept.
        template: the words of a request.
        temperature: 0 asks for the likeliest reply.
        max_tokens: limit of a reply.
        max_chars: of each text; a longer prompt loses its beginning, a longer answer its end.
        workers: requests at a time.
    """

    chat: Chat
    model: str
    answers: Answers
    template: Template
    temperature: float = 0.0
    max_tokens: int = 8
    max_chars: int = 4000
    workers: int = 4

    def rule(self, duels: Sequence[Duel], listener: Listener) -> list[Ruling]:
        """One ruling a duel, in order; each distinct request is sent at most once, ever.

        Raises:
            JudgeError: when the server refuses every request, or gives none of many a reply.
        """
        asked = [self._requests(duel) for duel in duels]
        named = _named(asked)
        replies = self._replies(named, listener)
        rulings = []
        for duel, pair in zip(duels, asked, strict=True):
            cut = max(map(len, (duel.prompt, duel.a, duel.b))) > self.max_chars
            rulings.append(_ruling([replies[name_of(request)] for request in pair], cut=cut))
        return rulings

    def requests(self, duels: Sequence[Duel]) -> int:
        """How many distinct requests `rule` makes of these duels, answered before or not."""
        return len(_named([self._requests(duel) for duel in duels]))

    def _requests(self, duel: Duel) -> list[Request]:
        """Both orders; none where the judge would see twice the same text."""
        size = self.max_chars
        prompt = duel.prompt if len(duel.prompt) <= size else _MARK + duel.prompt[-size:]
        a, b = (t if len(t) <= size else t[:size] + _MARK for t in (duel.a, duel.b))
        if a == b:
            return []
        return [
            {
                "model": self.model,
                "messages": [{"role": "user", "content": self.template.fill(prompt, *order)}],
                "temperature": self.temperature,
                "max_tokens": self.max_tokens,
            }
            for order in ((a, b), (b, a))
        ]

    def _replies(
        self, named: Mapping[str, Request], listener: Listener
    ) -> dict[str, Reply | Trouble]:
        out: dict[str, Reply | Trouble] = {}
        for name in named:
            if (known := self.answers.get(name)) is not None:
                out[name] = known
        listener(len(out), len(named))
        stopped = threading.Event()
        silence = _Silence(self.chat.url, stopped)
        with ThreadPoolExecutor(self.workers) as pool:
            try:
                waiting = {
                    pool.submit(self._ask, name, request, stopped, silence): name
                    for name, request in named.items()
                    if name not in out
                }
                for future in as_completed(waiting):
                    out[waiting[future]] = future.result()
                    listener(len(out), len(named))
            except BaseException:
                stopped.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return out

    def _ask(
        self, name: str, request: Request, stopped: threading.Event, silence: _Silence
    ) -> Reply | Trouble:
        try:
            reply = self.chat.ask(request, stopped)
            silence.heard(reply)
            if isinstance(reply, Reply):
                self.answers.put(name, request, reply)
        except BaseException:
            # Here and not only where it is heard of: the other workers take no further request.
            stopped.set()
            raise
        return reply


class _Silence:
    """Requests in a row without any reply, counted over all workers as their requests end."""

    def __init__(self, url: str, stopped: threading.Event) -> None:
        self._url, self._stopped = url, stopped
        self._requests, self._lock = 0, threading.Lock()

    def heard(self, reply: Reply | Trouble) -> None:
        with self._lock:
            if self._stopped.is_set():  # a request that was not sent says nothing of the server
                return
            self._requests = self._requests + 1 if isinstance(reply, Trouble) else 0
            if not isinstance(reply, Trouble) or self._requests < _HOPELESS:
                return
            self._stopped.set()
            raise JudgeError(
                f"{self._requests} requests in a row to {self._url} got no reply (the last: "
                f"{reply.kind}, {reply.detail}); answers so far are kept: run the same command "
                "again when the server is well"
            )


def _named(asked: Sequence[Sequence[Request]]) -> dict[str, Request]:
    return {name_of(request): request for requests in asked for request in requests}


def _ruling(found: Sequence[Reply | Trouble], *, cut: bool) -> Ruling:
    if not found:
        return Ruling(winner="tie", cut=cut)
    replies = tuple(reply for reply in found if isinstance(reply, Reply))
    picks: list[Pick] = []
    for reply in found:
        if isinstance(reply, Trouble):
            return Ruling(failure=reply.kind, detail=reply.detail, cut=cut, replies=replies)
        pick = parse(reply.text, cut=reply.cut)
        if pick is None:
            return Ruling(failure=UNPARSABLE, detail=reply.text, cut=cut, replies=replies)
        picks.append(pick)
    one, other = _winner(picks[0]), _winner(picks[1], swapped=True)
    winner = one if one == other else "tie"
    return Ruling(winner=winner, picks=tuple(picks), cut=cut, replies=replies)


def _winner(pick: Pick, *, swapped: bool = False) -> Literal["a", "b", "tie"]:
    if pick == "tie":
        return "tie"
    return "a" if (pick == "first") != swapped else "b"
