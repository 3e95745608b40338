"""Runs, checks and publishes the notebooks; holds no science."""
