"""Trained weights that ship with the package, and their model cards."""

from pathlib import Path

#: Network that finds crystals in micrographs.
SEGMENT_WEIGHTS = Path(__file__).with_name("segment.safetensors")
#: Network that places crops in shape space.
SHAPE_WEIGHTS = Path(__file__).with_name("shapes.safetensors")
#: How it was trained and what it makes of held-out shapes: the file that its training writes.
SHAPE_TRAINING = Path(__file__).with_name("shapes_training.json")
