"""Defines a run and the rules of its changes. Imports only the standard library and uses no clock and no storage."""
