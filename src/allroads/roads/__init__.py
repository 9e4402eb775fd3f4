"""Roads: stages of source x labeller x pick x objective, the one loop, the table of roads."""
