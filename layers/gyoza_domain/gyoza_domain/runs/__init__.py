"""The feature of the run API: commands that change a run, and the views that clients read."""
