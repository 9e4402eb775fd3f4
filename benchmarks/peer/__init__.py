"""The two sides of `vs_trl.py`, on one footing."""
