"""Switches off the time limits of hypothesis, because a slow machine is no failure."""

from hypothesis import settings

settings.register_profile("gyoza", deadline=None)
settings.load_profile("gyoza")
