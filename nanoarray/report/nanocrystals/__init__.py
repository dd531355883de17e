"""Figures and parts of the report for nanocrystals."""
