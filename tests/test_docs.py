"""The documentation: links resolve, examples run, commands parse, the reference is of this code."""

import importlib.util
import re
import shlex
import shutil
from pathlib import Path

import pytest
import typer

import nanoarray as na
from nanoarray.cli import app
from nanoarray.pipeline import STAGES, load_pipeline
from nanoarray.simulate.archive import simulate_archive

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
FENCE = re.compile(r"^(?P<runs><!-- runs -->\n)?```(?P<kind>\w*)\n(?P<body>.*?)^```", re.M | re.S)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")


def blocks(page: Path, *kinds: str, marked: bool = False) -> list[str]:
    """Bodies of the fenced blocks of these kinds; only those marked as running if so wanted."""
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [m["body"] for m in found if m["kind"] in kinds and (m["runs"] or not marked)]


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.M)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


# --- links ------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links_resolve(page):
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        place = (page.parent / target).resolve() if target else page
        assert place.exists(), f"{link} in {page.name}"
        assert place.is_relative_to(ROOT), f"{link} in {page.name} leaves the project"
        if anchor:
            assert anchor in anchors(place), f"no heading for {link} in {page.name}"


def test_every_page_can_be_reached_from_the_readme():
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        page = todo.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        links = (link.partition("#")[0] for link in LINK.findall(prose(page)))
        todo += [(page.parent / link).resolve() for link in links if link and ":" not in link]
    assert [page.name for page in PAGES if page not in seen] == []


def test_pictures_are_small():
    for picture in (ROOT / "docs").rglob("*.png"):
        assert picture.stat().st_size <= 300_000, picture.name


# --- reference --------------------------------------------------------------------------------


def script(name: str):
    """A script of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def reference():
    return script("make_reference")


def test_reference_is_of_this_code(reference):
    pages = reference.pages()
    read = {path.name: path.read_text(encoding="utf-8") for path in reference.FOLDER.iterdir()}
    read = {name: text for name, text in read.items() if name not in reference.BY_HAND}
    stale = sorted(name for name in {*pages, *read} if pages.get(name) != read.get(name))
    assert stale == [], "docs/reference is stale: run python docs/make_reference.py"


def test_reference_covers_every_parameter(reference):
    text = reference.parameters_page()
    for stage in STAGES.values():
        assert f"## {stage.name}\n" in text
        for name in stage.parameters.model_fields:
            assert f"| `{name}` |" in text


def test_reference_shows_defaults_and_limits(reference):
    lines = reference.parameters_page().splitlines()
    (line,) = [entry for entry in lines if entry.startswith("| `angle_count` |")]
    assert line.startswith("| `angle_count` | `60` | integer ≥ 6, ≤ 720 |")
    assert "| `--set` | text, several |" in reference.command_line_page()
    assert "- `InputError`: " in reference.python_page()


def test_accuracy_tables_have_their_place():
    fill = script("fill_accuracy")
    (_,) = fill.MARKED.findall(fill.PAGE.read_text(encoding="utf-8"))
    text = fill.tables(
        "\ncases\n\n| case | ARI | s |\n|---|---|---|\n| a | 0.9 | 3 |\n\nmet    x\n"
    )
    assert text == "**cases**\n\n| case | ARI |\n|---|---|\n| a | 0.9 |\n\n- x (met)"


# --- commands ---------------------------------------------------------------------------------


def commands() -> list[str]:
    """Every nanoarray command in the pages' shell blocks."""
    found = []
    for page in PAGES:
        for block in blocks(page, "sh", "console"):
            joined = block.replace("\\\n", " ")
            lines = [line.strip().removeprefix("$ ") for line in joined.splitlines()]
            found += [line for line in lines if line.startswith("nanoarray ")]
    return sorted(set(found))


@pytest.mark.parametrize("command", commands())
def test_commands_parse(command):
    _, name, *arguments = shlex.split(command, comments=True)
    if name.startswith("-"):
        assert name in ("--version", "--help")
        return
    group = typer.main.get_command(app)
    assert name in group.commands
    # Parses names, options and types, and calls nothing.
    group.commands[name].make_context(name, arguments)


def test_pages_show_every_command():
    shown = {shlex.split(command)[1] for command in commands()}
    assert {info.callback.__name__ for info in app.registered_commands} <= shown


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_make_targets_exist(page):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    for block in blocks(page, "sh", "console"):
        for target in re.findall(r"^make (\w+)", block, re.M):
            assert target in targets


# --- examples ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """What the examples assume: micrographs/, samples.csv, and archive.zarr made from them."""
    folder = tmp_path_factory.mktemp("docs")
    size = {"height_px": 300, "width_px": 320, "pixel_size_nm": 5.0}
    simulate_archive(folder / "micrographs", image_count=4, seed=2, **size)
    shutil.move(folder / "micrographs" / "tags.csv", folder / "samples.csv")
    url = folder / "archive.zarr"
    na.ingest(folder / "micrographs", url, tags=folder / "samples.csv")
    na.run("superlattice", url, tile_clusters={"max_tiles": 1000})
    return folder


RUNNING = [page for page in PAGES if blocks(page, "python", marked=True)]


@pytest.mark.parametrize("page", RUNNING, ids=[p.relative_to(ROOT).as_posix() for p in RUNNING])
def test_examples_run(page, place, tmp_path, monkeypatch):
    code = blocks(page, "python", marked=True)
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    if any('na.ingest("micrographs/", "archive.zarr"' in block for block in code):
        shutil.rmtree(tmp_path / "archive.zarr")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in code:
        exec(compile(block, page.name, "exec"), names)


def test_readme_has_an_example_that_runs():
    (example,) = blocks(ROOT / "README.md", "python", marked=True)
    assert len([line for line in example.splitlines() if line.strip()]) <= 15


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_pipeline_files_are_valid(page, tmp_path):
    for i, block in enumerate(blocks(page, "toml")):
        path = tmp_path / f"{i}.toml"
        path.write_text(block, encoding="utf-8")
        assert load_pipeline(str(path)).stages
