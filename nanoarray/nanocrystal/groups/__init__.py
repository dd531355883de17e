"""Unsupervised groups of crystals by their features and shape parameters."""
