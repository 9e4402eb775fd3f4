"""Sampling completions from policies."""
