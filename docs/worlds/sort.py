"""A world of one's own: put letters in order. Verifying compares neighbours and counts letters.

Prompt: six different letters of twelve. Completion: the same letters in alphabetical order. The
true reward is the share of letters that were kept, none twice and none added, times the share of
neighbours that stand in order.
"""

import itertools

LETTERS = "abcdefghijkl"
VOCABULARY = [*LETTERS]
LENGTH = 6
MAX_NEW_TOKENS = LENGTH + 1


def prompts():
    """Six thousand shuffled choices."""
    rows, seed = set(), 1
    while len(rows) < 6000:
        left = [*LETTERS]
        row = []
        for _ in range(LENGTH):
            seed = (1103515245 * seed + 12345) % 2**31
            row.append(left.pop((seed >> 8) % len(left)))
        rows.add(" ".join(row))
    return sorted(rows)


def demonstrate(prompt, rng):
    """Puts them in order."""
    return " ".join(sorted(prompt.split()))


def verify(prompts, completions):
    """How much is kept and in order, 0 to 1."""
    return [ordered(p.split(), c.split()) for p, c in zip(prompts, completions, strict=True)]


def ordered(given, words):
    """Of an empty or a single letter nothing is in order."""
    kept = len(set(given) & set(words)) / max(len(given), len(words))
    steps = [a < b for a, b in itertools.pairwise(words)]
    return kept * sum(steps) / len(steps) if steps else 0.0
