"""Whole micrographs with known truth, written as real TIFF files."""
