"""Preparing micrographs: defects, focus, cleaning."""
