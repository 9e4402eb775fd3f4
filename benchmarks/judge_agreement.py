"""How often does a judge agree with people? Pairs of a file, both orders, without any run.

python benchmarks/judge_agreement.py --url http://localhost:8000 --model NAME --data pairs.jsonl.gz
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from allroads.console import Counted
from allroads.data.rows import load
from allroads.data.split import prompt_id_of
from allroads.judges.answers import Answers
from allroads.judges.client import Chat, endpoint, key_from
from allroads.judges.llm import Duel, PairJudge
from allroads.judges.template import load_template
from allroads.lab.judgement import count_pairs
from allroads.seeding import child
from allroads.types import PromptText


def plain(prompt: PromptText) -> str:
    """A conversation as one text."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in prompt)


def main() -> None:
    """Ask, count, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for the raw replies")
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--max-chars", type=int, default=4000)
    parser.add_argument("--max-tokens", type=int, default=8)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=120.0)
    parser.add_argument("--key-env", default="OPENAI_API_KEY")
    parser.add_argument("--template", type=Path)
    given = parser.parse_args()
    pairs = load(given.data).pairs
    order = child(0, "judge", len(pairs)).permutation(len(pairs))[: given.pairs]
    pairs = [pairs[i] for i in sorted(order.tolist())]
    judge = PairJudge(
        chat=Chat(url=endpoint(given.url), key=key_from(given.key_env), timeout=given.timeout),
        model=given.model,
        answers=Answers(given.out),
        template=load_template(given.template),
        max_chars=given.max_chars,
        max_tokens=given.max_tokens,
        workers=given.workers,
    )
    duels = [Duel(prompt=plain(p.prompt), a=p.chosen, b=p.rejected) for p in pairs]
    since = time.monotonic()
    rulings = judge.rule(duels, Counted("replies"))
    counts = count_pairs(rulings, [prompt_id_of(p.prompt) for p in pairs])
    replies = [reply for ruling in rulings for reply in ruling.replies]
    print(counts.model_dump_json(indent=1))
    print(f"seconds per reply {sum(r.seconds for r in replies) / max(1, len(replies)):.2f}")
    print(f"seconds in all, this time {time.monotonic() - since:.0f}", file=sys.stderr)


if __name__ == "__main__":
    main()
