"""Start-up: what importing loads, and what the command line says about itself.

How long it takes is measured by benchmarks/bench_startup.py, not here.
"""

import subprocess
import sys

import pytest
from typer.testing import CliRunner

from nanoarray.cli import app

HEAVY = [
    "torch",
    "distributed",
    "matplotlib",
    "sklearn",
    "numba",
    "dask",
    "xarray",
    "zarr",
    "pandas",
    "scipy",
    "skimage",
]
COMMANDS = [info.callback.__name__ for info in app.registered_commands]


def loaded_after(code: str) -> set[str]:
    """Heavy packages that a fresh interpreter has loaded after `code`."""
    check = f"import sys; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{check}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.splitlines()[-1].split() if done.stdout.strip() else [])


def test_importing_loads_nothing_heavy():
    assert loaded_after("import nanoarray") == set()


def test_the_check_sees_what_is_loaded():
    assert "xarray" in loaded_after("import nanoarray; nanoarray.table")


@pytest.mark.parametrize("module", ["nanoarray.cli", "nanoarray.report"])
def test_doors_load_nothing_heavy(module):
    assert loaded_after(f"import {module}") == set()


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom nanoarray.cli import main\nsys.argv = ['nanoarray', 'run', '--help']\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code"
    )
    assert loaded_after(code) == set()


def test_running_needs_neither_torch_nor_matplotlib():
    loaded = loaded_after("import nanoarray\nfor n in nanoarray.__all__: getattr(nanoarray, n)")
    assert not loaded & {"torch", "matplotlib", "sklearn", "distributed"}


def help_of(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "200", "TERMINAL_WIDTH": "200"}).invoke(
        app, [*arguments, "--help"]
    )
    assert result.exit_code == 0, result.output
    return " ".join(result.output.split())


def test_help_names_every_command():
    text = help_of()
    expected = {"demo", "simulate", "ingest", "run", "status", "table", "report"}
    assert expected <= set(COMMANDS)
    assert [name for name in (*COMMANDS, "train") if name not in text.split()] == []
    assert "Exit status: 0 done, 1 failed, 2 bad usage or input, 3 done but some" in text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command_has_an_example(command):
    assert f"Example: nanoarray {command} " in help_of(command).replace("`", "")


def test_version():
    result = CliRunner().invoke(app, ["--version"])
    assert result.output.split() == ["nanoarray", __import__("nanoarray").__version__]
