"""Measuring segmented crystals: features, Feret diameters, outlines, crops, edge weights."""
