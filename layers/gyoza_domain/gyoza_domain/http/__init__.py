"""Reads API Gateway's events and builds JSON answers. Routes without a body never import pydantic."""
