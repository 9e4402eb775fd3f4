"""Designs (prepare a world, compare roads) and the one resumable runner of their jobs."""
