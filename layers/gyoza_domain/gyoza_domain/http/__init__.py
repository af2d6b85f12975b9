"""Reads API Gateway's events and builds JSON answers. Only routes with a body import pydantic."""
