"""Publishes the events of runs to their subscribers, in order, and parks for an operator what cannot be published."""
