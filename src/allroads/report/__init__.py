"""Records -> one HTML page. Rebuilt from files on a laptop: nothing here imports torch."""

from allroads.report.page import render, write

__all__ = ["render", "write"]
