"""Prepare one micrograph for the analysis of its lattice: even it out, and bring it to scale."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage
from skimage import exposure

from nanoarray.errors import InputError
from nanoarray.fields.windows import Pixels, Window
from nanoarray.superlattice.prepare.defects import DefectLimits, find_defects
from nanoarray.superlattice.prepare.spectrum import lattice_spacing, radial_spectrum, sharpness

__all__ = [
    "DefectLimits",
    "equalize",
    "find_defects",
    "lattice_spacing",
    "line_means",
    "line_offsets",
    "radial_spectrum",
    "resample",
    "resample_mask",
    "resample_window",
    "resampled_shape",
    "sharpness",
    "suppress_line_noise",
]

Equalization = Literal["none", "global", "adaptive"]


def equalize(
    image: NDArray[np.generic], *, method: Equalization = "adaptive", window_px: int = 128
) -> NDArray[np.float32]:
    """Equalize the contrast.

    Parameters
    ----------
    image
        Shape ``(height, width)``.
    method
        "none" only rescales to 0..1; "global" equalizes one histogram; "adaptive" equalizes
        locally with limited contrast (CLAHE).
    window_px
        Size of the neighbourhood of "adaptive".

    Returns
    -------
    ndarray
        Same shape, 0 to 1. A constant image becomes 0.

    Raises
    ------
    InputError
        Unknown method, or a window smaller than 2 px.
    """
    if method not in ("none", "global", "adaptive"):
        raise InputError(f"equalization '{method}' is unknown; use none, global or adaptive")
    if window_px < 2:
        raise InputError(f"equalization window is {window_px} px, expected at least 2")
    values = np.asarray(image, dtype=np.float32)
    low, high = float(values.min()), float(values.max())
    if high <= low:
        return np.zeros(values.shape, dtype=np.float32)
    values = (values - low) / (high - low)
    if method == "global":
        values = exposure.equalize_hist(values)
    elif method == "adaptive":
        window = (min(window_px, values.shape[0]), min(window_px, values.shape[1]))
        values = exposure.equalize_adapthist(values, kernel_size=window, clip_limit=0.01)
    return np.asarray(values, dtype=np.float32)


def suppress_line_noise(
    image: NDArray[np.generic],
    *,
    defect: NDArray[np.bool_] | None = None,
    smooth_rows: float = 12.0,
    segments: int = 8,
) -> NDArray[np.float32]:
    """Remove the offset that each scan line has against its neighbours.

    A line's offset is the median over several segments of the row of what is left after the slow
    change from row to row is taken away. Detector noise from line to line is white along y, but
    rows of a lattice that lie along the scan lines are periodic: components of the offsets that
    stand out of their spectrum are cut down to its floor, so that such a lattice stays.

    Parameters
    ----------
    image
        Shape ``(height, width)``.
    defect
        Pixels to leave out of the estimate.
    smooth_rows
        Changes slower than this many rows are background and stay.
    segments
        Number of segments per row.

    Returns
    -------
    ndarray
        Same shape, float32.
    """
    values = np.asarray(image, dtype=np.float32)
    height, width = values.shape
    if height < 8 or width < segments:
        return values.copy()
    offset = line_offsets(*line_means(values, defect, segments=segments), smooth_rows=smooth_rows)
    return np.asarray(values - offset[:, None])


def line_means(
    values: NDArray[np.float32], defect: NDArray[np.bool_] | None, *, segments: int = 8
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Means of the segments of whole lines, ``(segment, line)``, and where enough was seen."""
    means, known = [], []
    for columns in np.array_split(np.arange(values.shape[1]), segments):
        part = values[:, columns[0] : columns[-1] + 1]
        if defect is None:
            means.append(part.mean(axis=1))
            known.append(np.ones(values.shape[0], dtype=bool))
            continue
        good = ~defect[:, columns[0] : columns[-1] + 1]
        count = good.sum(axis=1)
        means.append(np.where(good, part, 0).sum(axis=1) / np.maximum(count, 1))
        known.append(count >= 0.5 * columns.size)
    return np.asarray(means, dtype=np.float64), np.asarray(known)


def line_offsets(
    means: NDArray[np.float64], known: NDArray[np.bool_], *, smooth_rows: float = 12.0
) -> NDArray[np.float32]:
    """Offset of every line of an image from the `line_means` of all of them."""
    rows = np.stack([_fill_rows(m, k) for m, k in zip(means, known, strict=True)])
    rows -= ndimage.gaussian_filter1d(rows, smooth_rows, axis=1, mode="nearest")
    return _limit_spectrum(np.median(rows, axis=0)).astype(np.float32)


def resample(image: NDArray[np.generic], *, factor: float) -> NDArray[np.float32]:
    """Change the pixel size; detail too fine for the new one is removed first.

    Parameters
    ----------
    image
        Shape ``(height, width)``.
    factor
        New pixels per old pixel: 0.5 halves the size of the array and doubles the pixel size.

    Returns
    -------
    ndarray
        Shape ``(round(height * factor), round(width * factor))``. The outer corner of the first
        pixel stays where it was: ``x_new = (x_old + 0.5) * factor - 0.5``.

    Raises
    ------
    InputError
        The factor is not above 0, or nothing would be left.
    """
    values = np.asarray(image, dtype=np.float32)
    shape = resampled_shape(values.shape, factor)
    if factor == 1:
        return values.copy()
    if factor < 1:
        # Half power at the new Nyquist frequency, as scikit-image's anti-aliasing has it.
        values = ndimage.gaussian_filter(values, (1 / factor - 1) / 2, mode="nearest")
    return np.asarray(
        ndimage.affine_transform(
            values,
            np.full(2, 1 / factor),
            offset=0.5 / factor - 0.5,
            output_shape=shape,
            order=3,
            mode="nearest",
        ),
        dtype=np.float32,
    )


#: How far `resample` sees, in old pixels and in new ones: its filters fall below 1e-8 there.
_RESAMPLED_REACH_PX, _RESAMPLED_REACH_NEW_PX = 24, 4


def resample_window(
    image: Pixels, window: Window, *, factor: float, shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """A window of what `resample` makes of an image of this ``shape``, which is read in windows.

    Parameters
    ----------
    image
        The image.
    window
        Rows and columns of the resampled image.
    factor
        New pixels per old pixel.
    shape
        Height and width of the image.
    """
    reach = _RESAMPLED_REACH_PX + int(np.ceil(_RESAMPLED_REACH_NEW_PX / factor))
    old = tuple(
        slice(
            max(int(np.floor(s.start / factor)) - reach, 0),
            min(int(np.ceil(s.stop / factor)) + reach, n),
        )
        for s, n in zip(window, shape, strict=True)
    )
    values = np.asarray(image[old], dtype=np.float32)
    if factor < 1:
        values = ndimage.gaussian_filter(values, (1 / factor - 1) / 2, mode="nearest")
    return np.asarray(
        ndimage.affine_transform(
            values,
            np.full(2, 1 / factor),
            offset=[
                (new.start + 0.5) / factor - 0.5 - o.start
                for new, o in zip(window, old, strict=True)
            ],
            output_shape=[s.stop - s.start for s in window],
            order=3,
            mode="nearest",
        ),
        dtype=np.float32,
    )


def resample_mask(mask: NDArray[np.bool_], *, factor: float) -> NDArray[np.bool_]:
    """Resample a mask as `resample` does an image, by the nearest old pixel."""
    shape = resampled_shape(mask.shape, factor)
    rows, columns = (
        np.clip(np.floor((np.arange(new) + 0.5) / factor).astype(np.int64), 0, old - 1)
        for new, old in zip(shape, mask.shape, strict=True)
    )
    return mask[np.ix_(rows, columns)]


def resampled_shape(shape: tuple[int, ...], factor: float) -> tuple[int, ...]:
    """Height and width after `resample`."""
    if not (np.isfinite(factor) and factor > 0):
        raise InputError(f"resampling factor is {factor}, expected a number above 0")
    new = tuple(round(length * factor) for length in shape)
    if min(new) < 1:
        raise InputError(
            f"resampling {shape[1]} x {shape[0]} px by {factor:.4g} leaves no pixels; choose a "
            "smaller common pixel size"
        )
    return new


def _fill_rows(mean: NDArray[np.floating], known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Interpolate rows that are mostly defect."""
    if not known.any():
        return np.zeros(mean.shape)
    rows = np.arange(mean.size)
    return np.interp(rows, rows[known], mean[known])


def _limit_spectrum(offset: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut components of a white signal that stand out of its spectrum down to the floor."""
    spectrum = fft.rfft(offset)
    size = np.abs(spectrum)
    # Amplitudes of white noise are Rayleigh distributed: 1 % exceed 2.58 times the median.
    floor = np.median(size[size > 0]) if (size > 0).any() else 0.0
    limited = np.where(size > 2.58 * floor, floor / np.maximum(size, 1e-30), 1.0)
    return np.asarray(fft.irfft(spectrum * limited, n=offset.size))
