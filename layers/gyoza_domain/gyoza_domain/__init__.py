"""gyoza: the control plane of container runs.

Imports run one way: ``domain <- runs <- publishing <- dynamodb, messaging, http <- bootstrap``; each function's
``app.py`` stands above all of them.
"""
