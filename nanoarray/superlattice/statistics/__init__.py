"""Grain sizes by condition."""
