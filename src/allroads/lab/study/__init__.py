"""Studies: the hypotheses, their arms and worlds, and the cells that decide them."""
