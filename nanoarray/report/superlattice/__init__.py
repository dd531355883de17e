"""Figures and parts of the report for grains of superlattices."""
