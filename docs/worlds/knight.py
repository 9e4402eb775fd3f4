"""A world of one's own: ride a knight. Verifying knows its moves; generating has to plan.

Prompt: the square where the knight stands and the one where it should arrive, on a board of six by
six. Completion: the squares of its ride, the last one where it arrives. The true reward is the
share of steps that are a knight's moves, halved where the ride ends elsewhere.
"""

import itertools

FILES, RANKS = "abcdef", "123456"
VOCABULARY = [f + r for f in FILES for r in RANKS]
LONGEST = 9
MAX_NEW_TOKENS = LONGEST + 1
RIDES_ON = 0.5


def prompts():
    """All pairs of two squares."""
    return [f"{a} {b}" for a, b in itertools.permutations(VOCABULARY, 2)]


def leaps(a, b):
    """Whether a knight goes from one square to the other."""
    across = abs(FILES.index(a[0]) - FILES.index(b[0]))
    up = abs(RANKS.index(a[1]) - RANKS.index(b[1]))
    return {across, up} == {1, 2}


MOVES = {a: [b for b in VOCABULARY if leaps(a, b)] for a in VOCABULARY}


def distances(goal):
    """Moves that are left from every square."""
    found, edge = {goal: 0}, [goal]
    for square in edge:
        for near in MOVES[square]:
            if near not in found:
                found[near] = found[square] + 1
                edge.append(near)
    return found


LEFT = {goal: distances(goal) for goal in VOCABULARY}


def demonstrate(prompt, rng):
    """Takes a shortest way but for every second move, which is any; and arrives if it can."""
    square, goal = prompt.split()
    ride = []
    while square != goal and len(ride) < LONGEST:
        near = MOVES[square]
        if rng.random() >= RIDES_ON:
            near = [one for one in near if LEFT[goal][one] < LEFT[goal][square]]
        square = near[rng.integers(len(near))]
        ride.append(square)
    return " ".join(ride)


def verify(prompts, completions):
    """How much of it is a knight's ride to where it should end, 0 to 1."""
    return [ridden(p.split(), c.split()) for p, c in zip(prompts, completions, strict=True)]


def ridden(asked, squares):
    """Who does not move arrives nowhere."""
    start, goal = asked
    steps = list(itertools.pairwise([start, *squares]))
    if not steps:
        return 0.0
    share = sum(b in MOVES[a] for a, b in steps) / len(steps)
    return share if squares[-1] == goal else share / 2
