"""Builds the AWS clients and the objects that need them from the environment. Each kind of process has a module."""
