"""Gives a worker that asks for work the run of the highest priority that fits it."""
