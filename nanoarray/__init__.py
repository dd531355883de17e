"""Archives of electron micrographs as labelled xarray datasets."""

__version__ = "0.1.0"
