"""A world of one's own: colour a graph. Verifying looks at its edges; generating has to plan.

Prompt: the seven edges of a graph of six nodes, two nodes each. Completion: one of three colours
for each node, from a to f. The true reward is the share of edges whose ends differ; an answer of
another length has none.
"""

NODES, COLOURS = "abcdef", ("red", "green", "blue")
VOCABULARY = [*NODES, *COLOURS]
EDGES = 7
MAX_NEW_TOKENS = len(NODES) + 1


def prompts():
    """Four thousand graphs that can be coloured, each edge once and in order."""
    every = [(a, b) for i, a in enumerate(NODES) for b in NODES[i + 1 :]]
    rows, seed = set(), 1
    while len(rows) < 4000:
        left, edges = [*every], []
        for _ in range(EDGES):
            seed = (1103515245 * seed + 12345) % 2**31
            edges.append(left.pop((seed >> 8) % len(left)))
        if colouring(edges, COLOURS):
            rows.add(" ".join(node for edge in sorted(edges) for node in edge))
    return sorted(rows)


def demonstrate(prompt, rng):
    """Any colouring without a mistake: the colours are tried in an order of its own."""
    order = [COLOURS[k] for k in rng.permutation(len(COLOURS))]
    return " ".join(colouring(edges_of(prompt), order))


def verify(prompts, completions):
    """Share of the edges whose ends differ, 0 to 1."""
    return [share(edges_of(p), c.split()) for p, c in zip(prompts, completions, strict=True)]


def edges_of(prompt):
    """Pairs of nodes."""
    words = prompt.split()
    return list(zip(words[::2], words[1::2], strict=True))


def colouring(edges, colours, chosen=()):
    """The first one by the order of the colours, node by node; () where there is none."""
    if len(chosen) == len(NODES):
        return chosen
    node = NODES[len(chosen)]
    taken = {chosen[NODES.index(a)] for a, b in edges if b == node}
    for colour in colours:
        if colour not in taken and (found := colouring(edges, colours, (*chosen, colour))):
            return found
    return ()


def share(edges, words):
    """Nodes are no colours."""
    if len(words) != len(NODES) or not set(words) <= set(COLOURS):
        return 0.0
    colour = dict(zip(NODES, words, strict=True))
    return sum(colour[a] != colour[b] for a, b in edges) / len(edges)
