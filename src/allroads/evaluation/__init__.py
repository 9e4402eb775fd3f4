"""A policy or a scorer on held-out prompts and pairs, into plain records."""
