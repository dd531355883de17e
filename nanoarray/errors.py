"""What can go wrong, by who can mend it."""

import errno

#: What the operating system says when a place cannot be used: full, read-only, not there.
_PLACE = frozenset(
    {
        errno.ENOSPC,
        errno.EDQUOT,
        errno.EFBIG,
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ENAMETOOLONG,
    }
)


class NanoarrayError(Exception):
    """Work failed; the command line exits with 1."""


class InputError(NanoarrayError, ValueError):
    """What the user gave cannot be used; the command line exits with 2."""


class ImageError(InputError):
    """One micrograph cannot be used. Its row is kept with ``ok = False`` and this reason."""


class DamagedError(NanoarrayError, RuntimeError):
    """Something in a store is not what was written there."""


class BusyError(NanoarrayError):
    """Another run works on the store."""


def is_about_place(error: BaseException) -> bool:
    """Whether an error says that a place cannot be used: the user can mend it."""
    return isinstance(error, OSError) and error.errno in _PLACE
