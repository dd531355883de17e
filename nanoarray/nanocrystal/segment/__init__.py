"""From micrographs to label images of crystals."""
