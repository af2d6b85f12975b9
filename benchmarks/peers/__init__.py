"""Implements the same routes as most people would deploy them."""
