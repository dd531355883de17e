"""Statistics that treat images or samples, not particles, as independent."""
