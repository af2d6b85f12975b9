"""The shared layer of every gyoza function.

Imports run one way: ``domain <- ports <- use_cases <- dynamodb, http <- bootstrap``; each function's ``app.py`` stands
on top.
"""
