"""What can go wrong, by who can mend it."""


class NanoarrayError(Exception):
    """Work failed; the command line exits with 1."""


class InputError(NanoarrayError, ValueError):
    """What the user gave cannot be used; the command line exits with 2."""


class ImageError(InputError):
    """One micrograph cannot be used. Its row is kept with ``ok = False`` and this reason."""
