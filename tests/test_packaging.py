"""The wheel: what is in it, and that it works installed, away from the source.

The sdist is built from the source and the wheel from the sdist, as a release is. The wheel goes,
without dependencies, into an empty environment that finds them in this one, where nanoarray
itself comes from the wheel only.
"""

import email
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from nanoarray import __version__
from nanoarray.pipeline import pipeline_names
from nanoarray.simulate.fei_tiff import write_fei_tiff

ROOT = Path(__file__).parent.parent


def call(*command, cwd: Path, **options) -> str:
    """Run a command outside the source tree; its standard output."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "PYTHONHOME")}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """Folder with the sdist and the wheel that was made from it."""
    out = tmp_path_factory.mktemp("dist")
    call(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    return out


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def names(wheel) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


@pytest.fixture(scope="module")
def bin_folder(wheel, tmp_path_factory) -> Path:
    """Programs of an environment with nanoarray from the wheel and all else from this one."""
    place = tmp_path_factory.mktemp("venv")
    call(sys.executable, "-m", "venv", "--without-pip", place, cwd=place)
    folder = place / ("Scripts" if os.name == "nt" else "bin")
    python = folder / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    call(*pip, "install", "--no-deps", "--no-index", "--quiet", wheel, cwd=place)
    own = call(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=place)
    # A line of a .pth file is searched last and its own .pth files, where an editable install of
    # the source would be, are not read.
    paths = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    (Path(own.strip()) / "dependencies.pth").write_text("\n".join(paths) + "\n", encoding="utf-8")
    return folder


def test_wheel_holds_the_package_and_nothing_else(names):
    tops = {name.split("/")[0] for name in names}
    assert tops == {"nanoarray", f"nanoarray-{__version__}.dist-info"}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "nanoarray").rglob("*.py")}
    assert {n for n in names if n.endswith(".py")} == modules
    kinds = {Path(n).suffix for n in names if n.startswith("nanoarray/")}
    assert kinds == {".py", ".toml", ".typed", ".j2", ".js", ".json", ".safetensors", ".md"}
    weights = (ROOT / "nanoarray" / "nanocrystal" / "weights").glob("*.safetensors")
    assert {f"nanoarray/nanocrystal/weights/{p.name}" for p in weights} <= set(names)


def test_wheel_holds_types_pipelines_templates_and_licence(names):
    assert "nanoarray/py.typed" in names
    assert f"nanoarray-{__version__}.dist-info/licenses/LICENSE" in names
    pipelines = {n for n in names if n.startswith("nanoarray/_pipelines/") and n.endswith(".toml")}
    assert pipelines == {f"nanoarray/_pipelines/{p.name}" for p in ROOT.glob("pipelines/*.toml")}
    templates = {n for n in names if "/templates/" in n}
    folder = ROOT / "nanoarray" / "report" / "templates"
    assert templates == {f"nanoarray/report/templates/{p.name}" for p in folder.iterdir()}


def test_wheel_describes_itself(wheel):
    with zipfile.ZipFile(wheel) as archive:
        info = f"nanoarray-{__version__}.dist-info"
        metadata = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        entry_points = archive.read(f"{info}/entry_points.txt").decode()
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "BSD-3-Clause"
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert "nanoarray = nanoarray.cli:main" in entry_points
    extras = metadata.get_all("Provides-Extra")
    assert set(extras) == {"cluster", "dtw", "intake", "microscopes", "ocr", "s3"}
    required = [r.split(";")[0] for r in metadata.get_all("Requires-Dist") if "extra ==" not in r]
    optional = ("tslearn", "ncempy", "rapidocr", "s3fs", "intake", "dask-jobqueue")
    assert not [r for r in required if r.startswith(optional)]


def test_sdist_is_complete(built):
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    for name in (
        "LICENSE",
        "README.md",
        "CHANGELOG.md",
        "Makefile",
        "constraints.txt",
        "pyproject.toml",
        "pipelines/superlattice.toml",
        "tests/conftest.py",
        "docs/index.md",
        "nanoarray/py.typed",
    ):
        assert name in found


def test_installed_package_comes_from_the_wheel(bin_folder, tmp_path):
    where = call(
        bin_folder / "python", "-c", "import nanoarray; print(nanoarray.__file__)", cwd=tmp_path
    )
    assert Path(where.strip()).is_relative_to(bin_folder.parent)


def test_console_script_works(bin_folder, tmp_path):
    script = bin_folder / "nanoarray"
    assert call(script, "--version", cwd=tmp_path).split() == ["nanoarray", __version__]
    text = call(script, "run", "superlattice", "--help", cwd=tmp_path)
    assert "STORE" in text


def test_packaged_pipelines_load(bin_folder, tmp_path):
    code = (
        "from nanoarray.pipeline import load_pipeline, pipeline_names, pipeline_path\n"
        "for name in pipeline_names():\n"
        "    assert load_pipeline(name).stages\n"
        "    print(name, pipeline_path(name))\n"
    )
    lines = call(bin_folder / "python", "-c", code, cwd=tmp_path).splitlines()
    found = dict(line.split(maxsplit=1) for line in lines)
    assert sorted(found) == pipeline_names()
    assert all(Path(path).is_relative_to(bin_folder.parent) for path in found.values())


def test_installed_package_reads_and_reports(bin_folder, tmp_path):
    """Reading, tables and the report's template; the kernels have their own tests."""
    pixels = np.random.default_rng(0).normal(120, 30, (90, 100)).clip(0, 255).astype(np.uint8)
    (tmp_path / "in").mkdir()
    write_fei_tiff(tmp_path / "in" / "a.tif", pixels, pixel_size_nm=2.5)
    script = bin_folder / "nanoarray"
    call(script, "ingest", "in", "a.zarr", "--quiet", cwd=tmp_path)
    call(script, "table", "a.zarr", "images", "--out", "images.csv", cwd=tmp_path)
    assert (tmp_path / "images.csv").read_text().count("\n") == 2
    call(script, "report", "a.zarr", "--out", "a.html", cwd=tmp_path)
    assert "</html>" in (tmp_path / "a.html").read_text(encoding="utf-8")
