"""A run's events on their way to subscribers: what is sent, in which order, and what becomes of what cannot be sent."""
