"""The notebooks of the documentation run, and are kept with the outputs of a run."""

import importlib.util

import nbformat
import pytest
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def runner():
    spec = importlib.util.spec_from_file_location("run_notebooks", ROOT / "docs/run_notebooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def kinds(cell) -> list[str]:
    """What a cell put out, warnings and logs left aside."""
    return [o.output_type for o in cell.get("outputs", []) if o.get("name") != "stderr"]


def test_there_is_one_per_system():
    assert [path.stem for path in NOTEBOOKS] == ["nanocrystals", "superlattice"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_kept_with_outputs_and_small(path):
    cells = nbformat.read(path, as_version=4).cells
    code = [cell for cell in cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    assert sum(bool(kinds(cell)) for cell in code) >= len(code) // 2
    assert not [o for cell in code for o in cell.outputs if o.output_type == "error"]
    assert path.stat().st_size <= 400_000
    text = path.read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert "/tmp" not in text


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_runs_and_puts_out_what_is_kept(path, runner, tmp_path):
    kept = [c for c in nbformat.read(path, as_version=4).cells if c.cell_type == "code"]
    made = [c for c in runner.run(path, tmp_path).cells if c.cell_type == "code"]
    assert [kinds(cell) for cell in made] == [kinds(cell) for cell in kept]
