"""Roads: stages of source x labeller x pick x objective, the one loop that travels them, the table."""
