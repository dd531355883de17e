"""Comparisons of syntheses, batches and conditions."""
