"""The command line.

`main.py` is the entry point. It works without the extra ``cli``, and so do the modules that it shares with
`gyoza worker` and `gyoza exec`: `failures.py`, `profile_note.py` and what they import. `app.py` and the modules of the
commands need the extra.
"""
