"""What a report says about crystals."""


class CrystalContents:
    """Tables of crystals."""
