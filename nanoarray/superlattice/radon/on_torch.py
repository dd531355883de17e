"""The tile kernel of `nanoarray.superlattice.radon.aligned` on torch, for GPUs."""

from __future__ import annotations

import functools
import math
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from nanoarray.errors import InputError
from nanoarray.superlattice.radon.aligned import project_tiles
from nanoarray.superlattice.radon.kernels import MIN_VALID_FRACTION, SEGMENT


def tile_radon_torch(
    image: npt.ArrayLike,
    centres_y: npt.ArrayLike,
    centres_x: npt.ArrayLike,
    *,
    tile_size_px: int,
    angles_deg: npt.ArrayLike,
    missing: npt.ArrayLike | None = None,
    flatten_px: float | None = None,
    origin_px: tuple[int, int] = (0, 0),
    device: str = "auto",
) -> npt.NDArray[np.float32]:
    """`superlattice.radon.aligned.tile_radon` computed by torch.

    Parameters
    ----------
    image, centres_y, centres_x, tile_size_px, angles_deg, missing, flatten_px, origin_px
        As for `tile_radon`.
    device
        ``"auto"``: the GPU where there is one, else the CPU (where `tile_radon` itself is much
        faster); or a torch device such as ``"cuda:1"``.

    Returns
    -------
    variance
        (ny, nx, na) float32, equal to that of `tile_radon` within the tolerance of float32 sums
        (1e-4 of the largest variance).

    Raises
    ------
    InputError
        As for `tile_radon`; torch is not installed, or has no such device.
    """
    torch = _torch()
    device = check_device(device)
    return project_tiles(
        image,
        centres_y,
        centres_x,
        tile_size_px=tile_size_px,
        angles_deg=angles_deg,
        missing=missing,
        flatten_px=flatten_px,
        origin_px=origin_px,
        kernel=functools.partial(_sheared_variance, torch, device),
    )


def check_device(device: str) -> str:
    """The device to use ("auto" resolved).

    Raises
    ------
    InputError
        When torch is not installed, or has no such device.
    """
    torch = _torch()
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"torch cannot use device {device!r}: {error}") from error
    return device


def _torch() -> ModuleType:
    try:
        import torch
    except ImportError as error:
        raise InputError("this needs torch: install it with pip install torch") from error
    return torch


def _sheared_variance(
    torch: Any,
    device: str,
    image: npt.NDArray[np.float32],
    known: npt.NDArray[np.float32],
    whole: npt.NDArray[np.bool_],
    ys: npt.NDArray[np.float64],
    xs: npt.NDArray[np.float64],
    tile: float,
    pad: int,
    thetas: npt.NDArray[np.float64],
    slots: npt.NDArray[np.integer],
    out: npt.NDArray[np.float32],
    row0: int,
    col0: int,
) -> None:
    """As `nanoarray.superlattice.radon.kernels.sheared_variance`, all tiles of an angle at once."""
    pixels = torch.as_tensor(np.ascontiguousarray(image), device=device)
    validity = torch.as_tensor(np.ascontiguousarray(known), device=device) if known.size else None
    flags = torch.as_tensor(np.ascontiguousarray(whole), device=device)
    result = torch.empty((ys.size, xs.size, thetas.size), dtype=torch.float32, device=device)
    for k, theta in enumerate(thetas):
        low, high, count, chord = _bin_ends(theta, image.shape, ys, xs, tile, pad, row0, col0)
        low, high = (torch.as_tensor(end, device=device) for end in (low, high))
        bins = _differences(_line_sums(torch, pixels, theta, row0), low, high).double()
        variance = bins.var(dim=2, correction=0) * (tile / chord) ** 2
        if validity is not None:
            chords = _differences(_line_sums(torch, validity, theta, row0), low, high).double()
            weight = (chords * chords).sum(dim=2)
            squares = (bins * bins).sum(dim=2) - (bins * chords).sum(dim=2) ** 2 / weight
            partial = (squares / weight).clamp(min=0) * tile**2
            partial[weight < MIN_VALID_FRACTION * count * chord * chord] = math.nan
            variance = torch.where(flags, variance, partial)
        result[:, :, k] = variance
    out[:, :, slots] = result.cpu().numpy()


def _line_sums(torch: Any, image: Any, theta: float, row0: int) -> Any:
    """Running sums (height + 1, lines) down the lines of the angle.

    Lines are numbered by their column in the first row, plus the drift over all rows where they
    lean to the right: see `_drift`.
    """
    height, width = image.shape
    q = math.sin(theta) / math.cos(theta)
    drift = _drift(theta, height)
    rows = torch.arange(height, device=image.device, dtype=torch.float64) + row0
    shift = torch.floor(q * rows)
    part = (q * rows - shift).to(torch.float32)[:, None]
    shift = shift - math.floor(q * row0)
    lines = torch.arange(width + abs(drift), device=image.device)[None, :] - max(drift, 0)
    columns = lines + shift.long()[:, None]
    weights = (
        ((-0.5 * part + 1.0) * part - 0.5) * part,
        (1.5 * part - 2.5) * part * part + 1.0,
        ((-1.5 * part + 2.0) * part + 0.5) * part,
        (0.5 * part - 0.5) * part * part,
    )
    sheared = torch.zeros(columns.shape, dtype=torch.float32, device=image.device)
    for tap, weight in zip((-1, 0, 1, 2), weights, strict=True):
        # Beyond the padding there are zeros, as in the outermost column.
        sheared += weight * image.gather(1, (columns + tap).clamp(0, width - 1))
    sums = torch.zeros((height + 1, columns.shape[1]), dtype=torch.float32, device=image.device)
    # In float64: a parallel sum of float32 has an order of its own on every device.
    sums[1:] = sheared.double().cumsum(dim=0)
    return sums


def _drift(theta: float, height: int) -> int:
    """Columns by which a line moves over the image, away from zero."""
    drift = math.sin(theta) / math.cos(theta) * height
    return math.ceil(drift) if drift > 0 else math.floor(drift)


def _bin_ends(
    theta: float,
    shape: tuple[int, ...],
    ys: npt.NDArray[np.float64],
    xs: npt.NDArray[np.float64],
    tile: float,
    pad: int,
    row0: int,
    col0: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int, int]:
    """Flat indices (ny, nx, bins) of both ends of every chord, number of bins, chord length."""
    height, width = shape
    cosine, sine = math.cos(theta), math.sin(theta)
    q = sine / cosine
    count, chord = round(tile / cosine), round(tile * cosine)
    start = np.arange(-(-count // SEGMENT)) * SEGMENT
    across = start + 0.5 * (SEGMENT - 1) - 0.5 * (count - 1)
    top = np.rint(ys[:, np.newaxis] - across * (sine * cosine) - 0.5 * (chord - 1)).astype(np.int64)
    top -= row0
    first = np.rint(xs - q * ys[:, np.newaxis] - 0.5 * (count - 1)).astype(np.int64)
    first += math.floor(q * row0) - col0
    drift = _drift(theta, height)
    line = first[:, :, np.newaxis] + np.arange(count) + pad + max(drift, 0)
    # Lines that never meet a window inside the image may lie beyond the sums: nothing there.
    line = np.clip(line, 0, width + abs(drift) - 1)
    segment = np.arange(count) // SEGMENT
    lines = width + abs(drift)
    low = np.clip(top, 0, height)[:, segment] * lines
    high = np.clip(top + chord, 0, height)[:, segment] * lines
    return low[:, np.newaxis, :] + line, high[:, np.newaxis, :] + line, count, chord


def _differences(sums: Any, low: Any, high: Any) -> Any:
    flat = sums.reshape(-1)
    return flat[high] - flat[low]
