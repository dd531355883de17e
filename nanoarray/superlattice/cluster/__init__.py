"""Groups of tiles by their features."""
