"""The checks and settings of `make deploy` before and after `sam deploy`, a module for each."""
