"""Run the notebooks of docs/notebooks and keep their outputs: `python docs/run_notebooks.py`."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "notebooks"


def run(notebook: Path, folder: Path, *, timeout_s: float = 600) -> Any:
    """A notebook with the outputs of running it in ``folder``; an error in a cell is raised."""
    import nbformat
    from nbclient import NotebookClient

    content = nbformat.read(notebook, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    NotebookClient(content, timeout=timeout_s, resources=resources).execute()
    return content


def main() -> None:
    import nbformat

    for notebook in sorted(FOLDER.glob("*.ipynb")):
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            content = run(notebook, Path(folder))
        for cell in content.cells:
            cell.metadata.pop("execution", None)  # times of running: they change every time
            if "outputs" in cell:  # warnings of other packages, with paths of this machine
                cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
        nbformat.write(content, notebook)
        print(f"{notebook.name}: {time.perf_counter() - start:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main()
