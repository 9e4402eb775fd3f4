"""Labellers from outside the preferences: made from what the user gave, and tried before training.

A world's own verifier is one too, but has nothing that could be wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from allroads.errors import JudgeError
from allroads.judges import UserVerifier, load_verifier
from allroads.judges.answers import Answers
from allroads.judges.client import Chat, endpoint, key_from
from allroads.judges.llm import Duel, PairJudge
from allroads.judges.template import Template
from allroads.lab.config import JUDGE_FLAGS, CompareConfig
from allroads.roads.stage import JUDGE, VERIFIER, Road
from allroads.types import Pair, Tokens

ANSWERS = Path("cache") / "judge"
"""Where in a run folder a judge's replies are kept, whoever asked."""
_TRIAL = Duel(prompt="What is two plus two?", a="Two plus two is four.", b="I do not know.")


def tried_verifier(given: str, pair: Pair, decode: Callable[[Tokens], str]) -> UserVerifier:
    """The user's verifier, after it has scored both completions of a training pair.

    Raises:
        InputError: when it cannot be loaded, or does not return one score each.
    """
    verifier = load_verifier(given)
    verifier([decode(pair.prompt)] * 2, [decode(pair.chosen), decode(pair.rejected)])
    return verifier


def judge_of(config: CompareConfig, folder: Path) -> PairJudge:
    """The judge that labels a run's samples; its replies are kept in the run folder.

    Raises:
        ConfigError: when the key's variable holds what no key is.
    """
    assert config.judge_url is not None
    assert config.judge_model is not None
    chat = Chat(
        url=endpoint(config.judge_url, JUDGE_FLAGS),
        key=key_from(config.judge_key_env, JUDGE_FLAGS),
        key_env=config.judge_key_env,
        flags=JUDGE_FLAGS,
    )
    return PairJudge(
        chat=chat,
        model=config.judge_model,
        answers=Answers(folder / ANSWERS),
        template=Template(),
        max_tokens=config.judge_max_tokens,
    )


def try_judge(judge: PairJudge) -> None:
    """Ask one easy question, so that a wrong address or an unsuited model is found at once.

    Raises:
        JudgeError: when there is no reply, or none that is a verdict.
    """
    (ruling,) = judge.rule([_TRIAL], lambda done, total: None)
    if ruling.failure is None:
        return
    raise JudgeError(
        f"the judge {judge.model} at {judge.chat.url} failed on a trial question "
        f"({ruling.failure}: {ruling.detail[:200]!r}); expected one word, 1, 2 or tie. Check "
        f"{JUDGE_FLAGS}url and {JUDGE_FLAGS}model; a model that thinks first needs "
        f"{JUDGE_FLAGS}max-tokens of some hundreds (now {judge.max_tokens})"
    )


def notes(config: CompareConfig, roads: Sequence[Road]) -> list[str]:
    """Who the outside labellers of these roads are, a sentence each."""
    used = {stage.labeller for road in roads for stage in road.stages}
    out = []
    if VERIFIER in used and config.verifier is not None:
        out.append(f"labeller 'verifier': the function of the file {Path(config.verifier).name}")
    if JUDGE in used:
        out.append(
            f"labeller 'judge': {config.judge_model} at {config.judge_url} compares every two "
            "completions of a prompt, in both orders; a score is a share of wins"
        )
    return out
