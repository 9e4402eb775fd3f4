"""The paper's hypotheses as experiments: from finished cells to verdicts by rules fixed before."""
