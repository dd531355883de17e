"""Shared fixtures."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import tifffile

# Compiled code is slow the first time, and machines are busy: no deadline per example.
hypothesis.settings.register_profile("no-deadline", deadline=None)
hypothesis.settings.load_profile("no-deadline")

ROOT = Path(__file__).parent.parent


@pytest.fixture
def write_tiff():
    """Write a plain TIFF without any scale."""

    def write(path: Path, pixels: np.ndarray, **options) -> Path:
        tifffile.imwrite(path, pixels, metadata=None, **options)
        return path

    return write


@pytest.fixture
def cli(monkeypatch, capsys):
    """Run the command line in this process: (exit status, output, errors)."""
    from nanoarray.cli import main

    def run(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["nanoarray", *map(str, arguments)])
        try:
            main()
            status = 0
        except SystemExit as stop:
            status = stop.code or 0
        return (status, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real micrographs, which are not part of the project."""
    folder = Path(os.environ.get("NANOARRAY_REAL_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("real micrographs are not here (set NANOARRAY_REAL_DATA to their folder)")
    return folder
