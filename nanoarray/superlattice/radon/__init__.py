"""Tiles and the variance of their Radon projections."""
