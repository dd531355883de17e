"""The report: one HTML file that holds everything it shows and asks the network for nothing."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import nanoarray
from nanoarray.archive.engine import is_current
from nanoarray.archive.provenance import now
from nanoarray.archive.store import as_url
from nanoarray.errors import InputError
from nanoarray.nanocrystal.shape.train import CURVE_NAME
from nanoarray.nanocrystal.weights import SHAPE_TRAINING
from nanoarray.pipeline import STAGES
from nanoarray.report import text_tables
from nanoarray.report.cards import image_cards, open_groups
from nanoarray.report.contents import (
    IMAGE_STAGES,
    SYSTEMS,
    Contents,
    choose_images,
    conditions_of,
    read_contents,
    reason_counts,
)
from nanoarray.report.downloads import MAX_BYTES, downloads, frame_rows
from nanoarray.report.nanocrystals.sections import crystal_facts, crystal_sections
from nanoarray.report.superlattice import sections as grain_sections
from nanoarray.report.superlattice import tables as grain_tables
from nanoarray.report.superlattice.sections import grain_facts, orientation_keys
from nanoarray.report.text_tables import TextTable, number

#: Rows of the lists of images that the page shows; the downloads have all of them.
MAX_LISTED = 200


def write_report(
    store_url: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    image_count: int = 12,
    training: str | os.PathLike[str] | None = None,
) -> Path:
    """Write a report of a store as one self-contained HTML file.

    Parameters
    ----------
    store_url
        A store, at any stage: what is not there yet is said to be missing.
    out
        The HTML file to write; one that is there is replaced once the new one is whole.
    image_count
        Number of images to show, spread over the conditions. The statistics are of all that could
        be measured.
    training
        Folder of `nanoarray train shapes`, or its file ``learning_curve.json``, to show how the
        shape network was trained. By default that of the weights of the package, where the shapes
        of the store were found with them.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        When there is no such store, the folder of ``out`` does not exist, ``image_count`` is
        negative, or the file of the training cannot be read.
    """
    target = Path(out)
    if not target.absolute().parent.is_dir():
        raise InputError(f"{target}: the folder {target.absolute().parent} does not exist")
    if target.is_dir():
        raise InputError(f"{target} is a folder: expected the name of an HTML file")
    if image_count < 0:
        raise InputError(f"image_count is {image_count}: expected 0 or more")
    curve = _read_training(training) if training is not None else None
    text = render(read_contents(as_url(store_url)), image_count=image_count, training=curve)
    partial = target.with_name(f".{target.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return target


def _read_training(place: str | os.PathLike[str]) -> dict[str, Any]:
    path = Path(place)
    if path.is_dir():
        path /= CURVE_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"the file of the training {place} cannot be read: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("epochs"), list):
        raise InputError(f"{place} is no file of a training: expected a list 'epochs' in it")
    return content


def render(
    contents: Contents, *, image_count: int = 12, training: Mapping[str, Any] | None = None
) -> str:
    """The page of a store's contents as HTML."""
    # Everything from the store is text from strangers: escaped wherever it is put.
    environment = Environment(
        loader=PackageLoader("nanoarray.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    positions = choose_images(contents, image_count)
    groups = open_groups(contents)
    cards = image_cards(contents, groups, positions)
    listed, unlisted = frame_rows(contents.left_out, MAX_LISTED)
    warned, unwarned = _warned_images(contents)
    crystals = None
    if contents.crystals is not None:
        shapes = contents.records.get("shapes", {}).get("basis", {}).get("parameters", {})
        if training is None and "weights" in shapes and shapes["weights"] is None:
            training = _read_training(SHAPE_TRAINING)
        crystals = crystal_sections(contents.crystals, contents.crystal_images, training=training)
    script = _script() if crystals is not None and crystals.space is not None else ""
    return environment.get_template("report.html.j2").render(
        title=_title(contents.url),
        url=contents.url,
        version=nanoarray.__version__,
        created=now(),
        systems=contents.systems,
        facts=_summary(contents),
        alerts=_alerts(contents),
        stages=_stages(contents),
        software=_software(contents),
        tables=[
            text_tables.condition_table(contents),
            text_tables.instrument_table(contents.images),
        ],
        reasons=reason_counts(contents.left_out),
        left_out=listed,
        left_out_more=unlisted,
        warned=warned,
        warned_more=unwarned,
        image_total=len(contents.images),
        cards=cards,
        keys=orientation_keys(card.symmetry for card in cards),
        detail=grain_sections.detail(contents, groups, positions),
        distributions=grain_sections.distributions(contents),
        means=grain_sections.means(contents),
        statistics=grain_tables.statistics_tables(contents),
        warnings=grain_tables.condition_warnings(contents),
        comparisons=_present(
            grain_tables.trend_table(contents), grain_tables.comparison_table(contents)
        ),
        has_statistics=contents.statistics is not None,
        crystals=crystals,
        # The only script of the page, and the only one that its policy allows.
        script=Markup(script),
        script_digest=_script_digest(script),
        downloads=downloads(contents),
        max_megabytes=MAX_BYTES // 1_000_000,
    )


def _script() -> str:
    """The script of the rotating figure. It is in the package: nothing of the store is in it."""
    return resources.files("nanoarray.report").joinpath("shape_space.js").read_text("utf-8")


def _script_digest(script: str) -> str:
    """What the content security policy knows the script by; "" without one."""
    digest = hashlib.sha256(script.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'" if script else ""


def _title(url: str) -> str:
    return url.rstrip("/").split("/")[-1] or url


def _present(*tables: TextTable | None) -> list[TextTable]:
    return [table for table in tables if table is not None]


def _summary(contents: Contents) -> list[tuple[str, str]]:
    """The numbers at the top: value and what it counts."""
    frame = contents.images
    facts = [(number(len(frame)), "images")]
    conditions = conditions_of(frame, contents.by).nunique()
    facts.append((number(conditions), "condition" if conditions == 1 else "conditions"))
    lost = len(contents.wholly_left_out)
    facts.append((number(lost), "images left out" if lost != 1 else "image left out"))
    if partly := contents.left_out["image"].nunique() - lost:
        facts.append((number(partly), "counted in part"))
    facts += grain_facts(contents)
    if contents.crystals is not None:
        facts += crystal_facts(contents.crystals)
    return facts


def _alerts(contents: Contents) -> list[str]:
    """What a reader must know before any number."""
    found = []
    for name, record in contents.records.items():
        if not record.get("complete"):
            found.append(f"{name} is not finished: what follows from it is missing or partial.")
        elif name in IMAGE_STAGES:
            new = len(contents.images) - int(record.get("length", 0))
            if new > 0:
                found.append(f"{new} images were added after {name} was made: run it again.")
                continue
        if record.get("complete") and not is_current(contents.url, name):
            found.append(
                f"{name} is out of date: images, pixel sizes or tags changed after it was made: "
                "run it again."
            )
    for system, names in SYSTEMS.items():
        if system in contents.systems:
            found += [f"{name} has not been run." for name in names if name not in contents.records]
    if not contents.systems:
        commands = " or ".join(f"nanoarray run {system} {contents.url}" for system in SYSTEMS)
        found.append(f"No pipeline has been run yet: {commands}.")
    if contents.crystals is not None:
        found += [f"{note}." for note in contents.crystals.notes]
    return found


def _stages(contents: Contents) -> list[dict[str, Any]]:
    """What was run: one entry per group of the store."""
    entries = []
    for name, record in contents.records.items():
        basis = record.get("basis", {})
        stage = STAGES.get(name)
        lost = contents.left_out["step"].isin([name, "reading" if name == "images" else name])
        entries.append(
            {
                "name": name,
                "description": stage.description if stage else "micrographs and their tags",
                "parameters": _parameters(basis.get("parameters", {})),
                "resolved": _parameters(record.get("resolved", {})),
                "rows": _counted(int(record.get("length", 0)), str(record.get("dim", "row"))),
                "lost": number(int(lost.sum())),
                "seconds": float(record.get("seconds", 0.0)),
                "finished": str(record.get("finished", "")),
                "digest": str(record.get("digest", "")),
                "version": str(basis.get("kernel_version", "")),
                "complete": bool(record.get("complete")),
            }
        )
    return entries


def _counted(count: int, what: str) -> str:
    return f"{number(count)} {what}" + ("" if count == 1 else "s")


def _parameters(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    def text(value: Any) -> str:
        if isinstance(value, list | tuple):
            return ", ".join(map(str, value)) or "none"
        if isinstance(value, bool):
            return "yes" if value else "no"
        return {"None": "default", "nan": "none"}.get(str(value), str(value))

    return [(name, text(value)) for name, value in values.items()]


def _software(contents: Contents) -> list[tuple[str, str]]:
    """Versions, each with the groups that differ where not all were made with the same."""
    found: dict[tuple[str, str], list[str]] = {}
    for group, record in contents.records.items():
        for package, version in record.get("software", {}).items():
            found.setdefault((package, version), []).append(group)
    packages = [package for package, _ in found]
    return [
        (p, v if packages.count(p) == 1 else f"{v} ({', '.join(groups)})")
        for (p, v), groups in found.items()
    ]


def _warned_images(contents: Contents) -> tuple[list[tuple[str, ...]], int]:
    frame = contents.images
    if "warning" not in frame:
        return [], 0
    return frame_rows(frame.loc[frame["warning"] != "", ["image", "warning"]], MAX_LISTED)
