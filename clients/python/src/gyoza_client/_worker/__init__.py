"""`gyoza worker`: claims runs and starts `gyoza exec` for each."""
