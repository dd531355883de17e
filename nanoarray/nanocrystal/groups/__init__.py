"""Groups of crystals by features and shape."""
