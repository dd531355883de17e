"""Shapes of nanocrystals: the polar formula, simulated crops, the network and its refinement."""
