"""The parts of a worker that `work`, `gyoza exec` and `gyoza worker` share."""
