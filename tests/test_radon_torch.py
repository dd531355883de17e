"""The torch kernel equals the numba kernel, on the CPU and where there is one on the GPU."""

from __future__ import annotations

import numpy as np
import pytest

from nanoarray.errors import InputError
from nanoarray.superlattice.radon.aligned import tile_radon
from nanoarray.superlattice.radon.on_torch import tile_radon_torch
from nanoarray.superlattice.radon.tile_grid import tile_grid

torch = pytest.importorskip("torch")

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_gpu)])
@pytest.mark.parametrize("with_defect", [False, True])
@pytest.mark.parametrize("tile", [20, 65])
def test_equals_numba(device, with_defect, tile):
    rng = np.random.default_rng(tile)
    image = (50 + rng.standard_normal((110, 140))).astype(np.float32)
    missing = None
    if with_defect:
        missing = np.zeros(image.shape, bool)
        missing[30:60, 40:90] = True
    centres_y, centres_x = tile_grid(110, 140, tile_size_px=tile, stride_px=9)
    options = {
        "tile_size_px": tile,
        "angles_deg": np.arange(0, 180, 15.0),
        "missing": missing,
    }
    expected = tile_radon(image, centres_y, centres_x, **options)
    found = tile_radon_torch(image, centres_y, centres_x, device=device, **options)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.nanmax(expected))


def test_unknown_device_is_named():
    with pytest.raises(InputError, match="'abacus'"):
        tile_radon_torch(
            np.zeros((20, 20)), [9.0], [9.0], tile_size_px=8, angles_deg=[0.0], device="abacus"
        )
