"""A world of one's own: add two numbers. Verifying is adding again, and so is generating.

Prompt: the digits of two numbers of three digits. Completion: the four digits of their sum. The
true reward is the share of digits that are right; an answer of another length has none.
"""

VOCABULARY = [*"0123456789"]
MAX_NEW_TOKENS = 5


def prompts():
    """Six thousand pairs of numbers."""
    rows, seed = set(), 1
    while len(rows) < 6000:
        seed = (1103515245 * seed + 12345) % 2**31
        rows.add(" ".join(f"{(seed >> 8) % 1000000:06d}"))
    return sorted(rows)


def demonstrate(prompt, rng):
    """Adds them."""
    return " ".join(due(prompt))


def verify(prompts, completions):
    """Share of right digits, 0 to 1."""
    return [share(due(p), c.split()) for p, c in zip(prompts, completions, strict=True)]


def due(prompt):
    """The four digits."""
    digits = prompt.replace(" ", "")
    return f"{int(digits[:3]) + int(digits[3:]):04d}"


def share(wanted, words):
    """Of digits in their places."""
    if len(words) != len(wanted):
        return 0.0
    return sum(a == b for a, b in zip(wanted, words, strict=True)) / len(wanted)
