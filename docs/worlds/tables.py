"""A world of one's own: look up tables that nobody shows. Verifying has to know what is asked.

Prompt: six letters of eight. Completion: for each of them what the table of its place has; the
tables are six fixed orders of eight numbers. The true reward is the share of places that are right;
an answer of another length has none.
"""

LETTERS, NUMBERS = "abcdefgh", "12345678"
VOCABULARY = [*LETTERS, *NUMBERS]
LENGTH = 6
MAX_NEW_TOKENS = LENGTH + 1


def drawn(seed):
    """Pseudo-random numbers, the same on every machine."""
    while True:
        seed = (1103515245 * seed + 12345) % 2**31
        yield seed >> 16


def orders():
    """The tables, place by place."""
    numbers, out = drawn(7), []
    for _ in range(LENGTH):
        left = [*NUMBERS]
        out.append({letter: left.pop(next(numbers) % len(left)) for letter in LETTERS})
    return out


TABLES = orders()


def prompts():
    """Six thousand words of six letters."""
    numbers, rows = drawn(1), set()
    while len(rows) < 6000:
        rows.add(" ".join(LETTERS[next(numbers) % len(LETTERS)] for _ in range(LENGTH)))
    return sorted(rows)


def demonstrate(prompt, rng):
    """Knows the tables."""
    return " ".join(table[letter] for table, letter in zip(TABLES, prompt.split(), strict=True))


def verify(prompts, completions):
    """Share of places that are right, 0 to 1."""
    both = zip(prompts, completions, strict=True)
    return [share(demonstrate(p, None).split(), c.split()) for p, c in both]


def share(right, words):
    """Of an answer of another length nothing counts."""
    if len(words) != len(right):
        return 0.0
    return sum(a == b for a, b in zip(right, words, strict=True)) / len(right)
