"""`gyoza exec`: runs one command as one attempt of a run, reports it, and ends it before its lease does."""
