"""What a run is and what may happen to it. Standard library only; no clock, no randomness, no storage."""
