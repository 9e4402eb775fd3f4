"""A world of one's own: close what was opened. Verifying keeps a stack; so does generating.

Prompt: the beginning of a line of brackets of four kinds. Completion: brackets that close all that
is open, in order. The true reward is the share of open brackets that are closed before the first
mistake, halved where anything follows the last one.
"""

OPEN, CLOSED = "([{<", ")]}>"
PARTNER = dict(zip(OPEN, CLOSED, strict=True))
VOCABULARY = [*OPEN, *CLOSED]
MAX_NEW_TOKENS = 9
LENGTH = 10


def prompts():
    """Lines of ten brackets that are right so far and leave three to eight open."""
    rows, seed = [], 1
    while len(rows) < 6000:
        stack, line = [], []
        for _ in range(LENGTH):
            seed = (1103515245 * seed + 12345) % 2**31
            draw = seed >> 8
            if stack and draw % 4 == 0:
                line.append(PARTNER[stack.pop()])
            else:
                stack.append(OPEN[(draw >> 4) % 4])
                line.append(stack[-1])
        if 3 <= len(stack) <= 8:
            rows.append(" ".join(line))
    return sorted(set(rows))


def demonstrate(prompt, rng):
    """Closes them all."""
    return " ".join(due(prompt))


def verify(prompts, completions):
    """How much was closed, 0 to 1."""
    return [closed(due(p), c.split()) for p, c in zip(prompts, completions, strict=True)]


def due(prompt):
    """What has to follow."""
    stack = []
    for word in prompt.split():
        if word in PARTNER:
            stack.append(PARTNER[word])
        else:
            stack.pop()
    return stack[::-1]


def closed(wanted, words):
    """Right until the first mistake."""
    right = 0
    while right < min(len(wanted), len(words)) and words[right] == wanted[right]:
        right += 1
    share = right / len(wanted)
    return share / 2 if len(words) > len(wanted) else share
