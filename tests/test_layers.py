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


def test_every_room_of_nanocrystals_and_every_command_has_a_layer():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    listed = " | ".join(contracts["contracts"][0]["layers"]).split(" | ")
    package = ROOT / "nanoarray"
    rooms = [f"nanocrystal.{p.parent.name}" for p in package.glob("nanocrystal/*/__init__.py")]
    joints = [f"nanocrystal.{p.stem}" for p in package.glob("nanocrystal/*.py")]
    commands = [p.stem for p in package.glob("cli*.py")]
    # They import nothing of this package that could be above them.
    plain = {f"nanocrystal.{name}" for name in ("__init__", "constants", "weights")}
    wanted = {f"nanoarray.{name}" for name in {*rooms, *joints, *commands} - plain}
    assert not wanted - set(listed), "add to the layers in pyproject.toml"
