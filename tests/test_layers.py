"""Every module has a place in the layers that import-linter checks."""

import tomllib

import pytest
from conftest import ROOT

#: Modules that join kernels to Datasets, parameters or the store.
ABOVE_KERNELS = {
    "__init__",
    "class_models",
    "constants",
    "grids",
    "label_maps",
    "large_image",
    "large_map",
    "large_stages",
    "lengths",
    "models",
    "one_image",
    "one_map",
    "parameters",
    "rows",
    "stage_labels",
    "stages",
    "step_images",
    "step_tables",
    "steps",
    "summary",
    "table_stages",
    "weights",
}


@pytest.mark.parametrize("system", ["superlattice", "nanocrystal"])
def test_every_kernel_is_listed(system):
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    kernels = next(c for c in contracts["contracts"] if c["name"].startswith("Kernels"))
    listed = set(kernels["source_modules"])
    room = ROOT / "nanoarray" / system
    found = {p.stem for p in room.glob("*.py")} | {
        p.parent.name for p in room.glob("*/__init__.py")
    }
    missing = {m for m in found - ABOVE_KERNELS if f"nanoarray.{system}.{m}" not in listed}
    assert not missing, f"add to the contract 'Kernels ...' in pyproject.toml: {missing}"
