"""Morphology of nanocrystals in transmission electron micrographs."""
