"""Runs the whole product on this machine: the real template on an AWS emulator that listens on loopback only."""
