"""The whole product on this machine: the real template on an AWS emulator, listening on loopback only."""
