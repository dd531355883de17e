"""What the power spectrum says about a micrograph: spacing of the lattice, and focus."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from nanoarray.fields.windows import Pixels

_TILE_PX = 256
_MIN_TILE_PX = 64
# A tile with more defect than this says more about the defect than about the lattice.
_MAX_DEFECT_OF_TILE = 0.3
_MIN_SPACING_PX = 3.2
# Fewer periods across a tile cannot be told from its window.
_MIN_CYCLES_PER_TILE = 10
# Smallest prominence of a ring, in log power, in one tile alone and for wide lattices.
_TILE_PROMINENCE = 0.5
_WIDE_PROMINENCE = 0.5
_MIN_TILES_WITH_RING = 0.25

# Bands of `sharpness`, in cycles per lattice spacing: the lattice, and what is coarser than it.
_FINE_BAND = (0.62, 1.6)
_COARSE_BAND = (0.2, 0.62)
# Power within this factor of the noise floor is taken for noise.
_NOISE_MARGIN = 1.2
# A lattice weaker than about this fraction of the noise in its band is not seen.
_NOISE_SHARE = 0.8


@dataclass(frozen=True)
class RadialSpectrum:
    """Radially averaged power spectra of the tiles of an image.

    Attributes
    ----------
    frequency
        Cycles per pixel, shape ``(f,)``, from 0 to below 0.5.
    power
        Power per tile, shape ``(tile, f)``, normalized so that white noise of standard deviation
        s has power s**2.
    """

    frequency: NDArray[np.float64]
    power: NDArray[np.float64]

    def typical(self) -> NDArray[np.float64]:
        """Geometric mean over the tiles, in which no single damaged tile dominates."""
        return np.asarray(np.exp(np.log(self.power + 1e-12).mean(axis=0)))


def radial_spectrum(
    image: Pixels,
    *,
    defect: Pixels | None = None,
    tile_px: int = _TILE_PX,
) -> RadialSpectrum:
    """Power spectra of half-overlapping Hann-windowed tiles, averaged over directions.

    Tiles that are mostly defect are left out; in the others, defects are set to the tile's mean.
    The image is read in bands.
    """
    from scipy.signal.windows import hann  # scipy.signal takes half a second to load

    height, width = image.shape
    size = int(min(tile_px, 2 ** int(np.log2(max(min(height, width), 1)))))
    if size < _MIN_TILE_PX:
        return RadialSpectrum(np.zeros(0), np.zeros((0, 0)))
    window = hann(size, sym=False)
    window = (window / np.sqrt(np.mean(window**2))).astype(np.float32)
    taper = np.outer(window, window)
    frequency_y, frequency_x = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    ring = np.rint(np.hypot(frequency_y, frequency_x) * size).astype(np.int64).ravel()
    members = np.bincount(ring)[: size // 2]
    spectra, shares = [], []
    for top in _starts(height, size):
        # Row by row of tiles: of a large image nothing else is in memory.
        band = slice(int(top), int(top) + size), slice(0, width)
        values = np.asarray(image[band], dtype=np.float32)
        lost = None if defect is None else defect[band]
        for left in _starts(width, size):
            tile = values[:, left : left + size]
            share = 0.0
            if lost is not None:
                bad = lost[:, left : left + size]
                share = float(bad.mean())
                if share > 0.95:
                    continue
                tile = np.where(bad, tile[~bad].mean(), tile)
            wave = fft.rfft2((tile - tile.mean()) * taper)
            power = (wave.real**2 + wave.imag**2) / size**2
            spectra.append(np.bincount(ring, power.ravel())[: size // 2] / members)
            shares.append(share)
    if not spectra:
        return RadialSpectrum(np.zeros(0), np.zeros((0, 0)))
    keep = np.asarray(shares) <= max(_MAX_DEFECT_OF_TILE, min(shares))
    return RadialSpectrum(np.arange(size // 2) / size, np.asarray(spectra)[keep])


def _starts(length: int, size: int) -> NDArray[np.int64]:
    count = int(np.ceil((length - size) / (size / 2))) + 1
    return np.unique(np.linspace(0, length - size, count).astype(np.int64))


def noise_floor(spectrum: RadialSpectrum) -> float:
    """Power of the white noise: the median where hardly any instrument still resolves detail."""
    typical = spectrum.typical()
    return float(np.median(typical[spectrum.frequency > 0.4]))


def lattice_spacing(
    image: Pixels,
    *,
    defect: Pixels | None = None,
    spectrum: RadialSpectrum | None = None,
) -> float:
    """Spacing of the lattice rows [px].

    The position of the strongest ring of the power spectrum. For a square lattice the spacing of
    the rows is the distance of neighbours, for a hexagonal lattice sqrt(3)/2 of it.

    Parameters
    ----------
    image
        Micrograph without data bar, shape ``(height, width)``.
    defect
        Pixels to leave out, same shape.
    spectrum
        ``radial_spectrum(image, defect=defect)`` where it is known.

    Returns
    -------
    float
        NaN when there is no ring.
    """
    spectrum = spectrum or radial_spectrum(image, defect=defect)
    if spectrum.frequency.size == 0:
        return float("nan")
    noise = noise_floor(spectrum)
    found = _ring_spacing(spectrum.frequency, spectrum.typical(), noise)
    if np.isfinite(found):
        return found
    # Damage in most tiles can hide the ring that the others have.
    single = [
        _ring_spacing(spectrum.frequency, power, noise, prominence=_TILE_PROMINENCE)
        for power in spectrum.power
    ]
    seen = [spacing for spacing in single if np.isfinite(spacing)]
    if len(seen) >= _MIN_TILES_WITH_RING * len(single):
        return float(np.median(seen))
    # Wide lattices need larger tiles to be told from the background.
    wide = radial_spectrum(image, defect=defect, tile_px=2 * _TILE_PX)
    if wide.frequency.size <= spectrum.frequency.size:
        return float("nan")
    power = wide.typical()
    return _ring_spacing(
        wide.frequency, power, noise_floor(wide), prominence=_WIDE_PROMINENCE, weight=0.0
    )


def _ring_spacing(
    frequency: NDArray[np.float64],
    typical: NDArray[np.float64],
    noise: float,
    *,
    prominence: float = 0.1,
    weight: float = 0.5,
) -> float:
    """Spacing at the strongest ring of one spectrum; NaN when there is none.

    ``weight`` 0 looks at power per direction, 1 at power per ring. Half of the way, rings of a
    polycrystal stand out and humps of slow background do not.
    """
    from scipy.signal import find_peaks

    size = 2 * frequency.size
    top = int(size / _MIN_SPACING_PX)
    level = ndimage.gaussian_filter1d(
        np.log(typical + 1e-9) + weight * np.log(np.maximum(frequency, 1 / size)), 1.0
    )
    peaks, found = find_peaks(level[:top], prominence=prominence)
    usable = (peaks >= _MIN_CYCLES_PER_TILE) & (typical[peaks] > 2.0 * noise)
    usable &= typical[peaks] > 1e-4 * typical[2:top].max()
    if not usable.any():
        return float("nan")
    peaks, heights = peaks[usable], found["prominences"][usable]
    # Where a second ring stands out as well, the first is the one with more power in it.
    clear = peaks[heights >= 0.5 * heights.max()]
    best = int(clear[np.argmax((typical * frequency)[clear])])
    around = np.arange(max(int(0.8 * best), 1), int(1.2 * best) + 2)
    height = np.clip(typical[around] - np.max(typical[around[[0, -1]]]), 0, None)
    height = height if height.sum() > 0 else typical[around]
    ring_power = height * frequency[around]
    return float(ring_power.sum() / (ring_power * frequency[around]).sum())


def sharpness(
    image: Pixels,
    *,
    spacing_px: float | None = None,
    defect: Pixels | None = None,
    spectrum: RadialSpectrum | None = None,
) -> float:
    """Share of the image's structure that is as fine as the lattice.

    The power above the noise floor between 0.62 and 1.6 cycles per lattice spacing, as a
    fraction of that between 0.2 and 1.6. Blur removes fine power first: a sharp superlattice
    scores 0.6 to 0.95, blur with a standard deviation of a third of the spacing or more scores
    below 0.4, wherever in the microscope noise was added. White noise does not count, and a
    lattice that drowns in it scores low.

    Parameters
    ----------
    image
        Micrograph without data bar, shape ``(height, width)``.
    spacing_px
        Spacing of the lattice rows; measured when not given.
    defect
        Pixels to leave out, same shape.
    spectrum
        ``radial_spectrum(image, defect=defect)`` where it is known.

    Returns
    -------
    float
        0 to 1; 0 where no lattice is seen at all.
    """
    spectrum = spectrum or radial_spectrum(image, defect=defect)
    if spacing_px is None:
        spacing_px = lattice_spacing(image, defect=defect, spectrum=spectrum)
    spacing = float(spacing_px)
    if spectrum.frequency.size == 0 or not np.isfinite(spacing) or spacing <= 0:
        return 0.0
    noise = noise_floor(spectrum)
    # Each ring holds as many spatial frequencies as it is long, hence the factor.
    power = (spectrum.typical() - _NOISE_MARGIN * noise).clip(0) * spectrum.frequency
    cycles = spectrum.frequency * spacing
    in_fine = (cycles >= _FINE_BAND[0]) & (cycles <= _FINE_BAND[1])
    fine = power[in_fine].sum()
    coarse = power[(cycles >= _COARSE_BAND[0]) & (cycles < _COARSE_BAND[1])].sum()
    unseen = _NOISE_SHARE * noise * spectrum.frequency[in_fine].sum()
    return float(fine / (fine + coarse + unseen)) if fine > 0 else 0.0
