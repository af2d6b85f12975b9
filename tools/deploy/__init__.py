"""What `make deploy` does around `sam deploy`: a module for each check and each setting."""
