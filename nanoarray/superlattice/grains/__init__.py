"""From tiles to grains, and what is measured on them."""
