"""Classifiers of crystals, and what their accuracy means."""
