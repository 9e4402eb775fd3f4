"""A busy machine is no failure: one example of a property may take as long as it likes."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
