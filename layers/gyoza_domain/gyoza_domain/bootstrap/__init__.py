"""Builds the AWS clients and all that needs them from the environment, a module for each kind of process."""
