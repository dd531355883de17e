"""Every module has a place in the layers that import-linter checks."""

import tomllib

from conftest import ROOT

#: Modules that join kernels to Datasets, parameters or the store.
ABOVE_KERNELS = {
    "__init__",
    "grids",
    "lengths",
    "one_image",
    "one_map",
    "parameters",
    "stages",
    "step_images",
    "steps",
    "summary",
}


def test_every_kernel_is_listed():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    kernels = next(c for c in contracts["contracts"] if c["name"].startswith("Kernels"))
    listed = set(kernels["source_modules"])
    found = {p.stem for p in (ROOT / "nanoarray" / "superlattice").glob("*.py")}
    missing = {m for m in found - ABOVE_KERNELS if f"nanoarray.superlattice.{m}" not in listed}
    assert not missing, f"add to the contract 'Kernels ...' in pyproject.toml: {missing}"
    assert found >= ABOVE_KERNELS
