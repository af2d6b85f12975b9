"""The HTTP edge: API Gateway's events in, JSON answers out. Functions without a body never import pydantic."""
