"""Publishes the events of runs to subscribers in order, and parks the others for an operator."""
