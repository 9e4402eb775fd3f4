"""A world of one's own: satisfy clauses. Verifying reads them; generating has to choose.

Prompt: six clauses of two literals over five variables, a to e; a capital letter is the variable's
negation. Completion: a value for each variable, T or F, from a to e. The true reward is the share
of clauses with a literal that holds; an answer of another length has none.
"""

VARIABLES = "abcde"
VOCABULARY = [*VARIABLES, *VARIABLES.upper(), "T", "F"]
CLAUSES = 6
MAX_NEW_TOKENS = len(VARIABLES) + 1


def prompts():
    """Four thousand lists of clauses that can be satisfied at once."""
    rows, seed = set(), 1
    while len(rows) < 4000:
        literals = []
        while len(literals) < 2 * CLAUSES:
            seed = (1103515245 * seed + 12345) % 2**31
            name = VARIABLES[(seed >> 8) % 5]
            if len(literals) % 2 and literals[-1].lower() == name:
                continue
            literals.append(name.upper() if (seed >> 16) % 2 else name)
        if solutions(literals):
            rows.add(" ".join(literals))
    return sorted(rows)


def demonstrate(prompt, rng):
    """Any assignment under which all clauses hold."""
    found = solutions(prompt.split())
    return " ".join(found[rng.integers(len(found))])


def verify(prompts, completions):
    """Share of clauses that hold, 0 to 1."""
    return [share(p.split(), c.split()) for p, c in zip(prompts, completions, strict=True)]


def solutions(literals):
    """All assignments under which every clause holds."""
    every = [format(k, "05b").replace("1", "T").replace("0", "F") for k in range(32)]
    return [one for one in every if share(literals, [*one]) == 1.0]


def share(literals, words):
    """Letters are no values."""
    if len(words) != len(VARIABLES) or not set(words) <= {"T", "F"}:
        return 0.0
    true = {v if w == "T" else v.upper() for v, w in zip(VARIABLES, words, strict=True)}
    clauses = list(zip(literals[::2], literals[1::2], strict=True))
    return sum(a in true or b in true for a, b in clauses) / len(clauses)
