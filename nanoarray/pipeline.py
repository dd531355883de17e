"""Pipeline files: TOML that names stages and their parameters; and running them in order."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanoarray.archive import store
from nanoarray.archive.engine import (
    TIME_LIMIT_S,
    Progress,
    Stage,
    StageReport,
    inputs_of,
)
from nanoarray.archive.executor import Executor, open_executor
from nanoarray.archive.lease import working_on
from nanoarray.archive.schedule import run_stages
from nanoarray.archive.stage_parameters import StageParameters, checked, nearest
from nanoarray.errors import InputError
from nanoarray.nanocrystal.stages import STAGES as NANOCRYSTAL_STAGES
from nanoarray.superlattice.stages import STAGES as SUPERLATTICE_STAGES

STAGES: dict[str, Stage] = {
    stage.name: stage for stage in (*SUPERLATTICE_STAGES, *NANOCRYSTAL_STAGES)
}

_HEADER_KEYS = ("name", "description")


@dataclass(frozen=True)
class Pipeline:
    """Stages with their parameters, in the order they run."""

    name: str
    description: str
    stages: tuple[tuple[Stage, StageParameters], ...]


def pipeline_names() -> list[str]:
    """Names of the pipelines that come with the package."""
    return sorted(path.stem for path in _pipeline_folder().glob("*.toml"))


def pipeline_path(name: str) -> Path:
    """The file of a pipeline: a path to a TOML file, or a name that comes with the package.

    Raises
    ------
    InputError
        When there is no such file or name; the nearest name is given.
    """
    if name.endswith(".toml") or os.sep in name:
        path = Path(name)
        if not path.is_file():
            raise InputError(f"no pipeline file at {name}")
        return path
    path = _pipeline_folder() / f"{name}.toml"
    if not path.is_file():
        raise InputError(
            f"unknown pipeline {name!r}{nearest(name, pipeline_names())}: "
            f"expected a TOML file or one of {', '.join(pipeline_names())}"
        )
    return path


def load_pipeline(name: str, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> Pipeline:
    """Read a pipeline by name or path and check every key.

    Parameters
    ----------
    name
        Name of a packaged pipeline, or path of a TOML file.
    overrides
        stage -> parameter -> value, replacing what the file says.

    Raises
    ------
    InputError
        For an unknown stage or parameter (with the nearest valid name) or an impossible value.
    """
    path = pipeline_path(name)
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid TOML: {error}") from None
    title = str(content.pop("name", path.stem))
    description = str(content.pop("description", ""))
    for key, table in content.items():
        if not isinstance(table, dict):
            raise InputError(
                f"{path}: {key} = {table!r} stands outside a stage: expected a table such as "
                f"[tiles]; only {' and '.join(_HEADER_KEYS)} may stand alone"
            )
    for stage, values in (overrides or {}).items():
        if stage not in content:
            valid = list(content) if stage in STAGES else list(STAGES)
            raise InputError(
                f"pipeline {title!r} has no stage {stage!r}{nearest(stage, valid)}: "
                f"its stages are {', '.join(content)}"
            )
        content[stage] = {**content[stage], **values}
    pairs = [(_stage(path, key), table) for key, table in content.items()]
    stages = _ordered([(stage, parse_parameters(stage, table)) for stage, table in pairs])
    if not stages:
        raise InputError(f"{path} names no stage: expected tables such as [prepared], [tiles]")
    return Pipeline(title, description, stages)


def parse_parameters(stage: Stage, values: Mapping[str, Any]) -> StageParameters:
    """Check a stage's parameters.

    Raises
    ------
    InputError
        Naming the first wrong key or value.
    """
    return checked(stage.parameters, values, name=stage.name)


def parse_settings(settings: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Turn ``stage.key=value`` texts into overrides; values are TOML, or plain text.

    Raises
    ------
    InputError
        For a text that has not this form.
    """
    overrides: dict[str, dict[str, Any]] = {}
    for text in settings:
        target, equals, value = text.partition("=")
        stage, dot, key = target.strip().partition(".")
        if not (equals and dot and stage and key):
            raise InputError(f"--set {text!r}: expected stage.key=value, as tiles.stride_px=10")
        try:
            parsed = tomllib.loads(f"value = {value.strip()}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = value.strip()
        overrides.setdefault(stage, {})[key] = parsed
    return overrides


def run(
    pipeline: str,
    store_url: str | os.PathLike[str],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    overwrite: bool = False,
    progress: Callable[[Progress], None] | None = None,
    on_start: Callable[[Pipeline, Executor], None] | None = None,
    time_limit_s: float | None = TIME_LIMIT_S,
    **overrides: Mapping[str, Any],
) -> list[StageReport]:
    """Run the stages of a pipeline on a store, doing only what is missing.

    Parameters
    ----------
    pipeline
        Name of a packaged pipeline ("superlattice"), or path of a TOML file.
    store_url
        A store that `ingest` made: a local directory or an fsspec URL.
    workers, scheduler
        Worker processes of a new local Dask cluster, or address of a running one. With neither,
        the current Dask client is used if there is one, otherwise threads.
    overwrite
        Replace groups that are there with other parameters.
    progress, on_start
        Called with every step forward, and once before the first.
    time_limit_s
        Longest time for one image, which fails when it takes longer, or for one block of a table;
        None for any.
    **overrides
        Parameters by stage: ``tiles={"stride_px": 8}``.

    Returns
    -------
    list of StageReport
        One per stage.

    Raises
    ------
    InputError
        For wrong parameters, a place that is no store, or groups made with other parameters.
    BusyError
        When another run works on the store.
    """
    url = store.as_url(store_url)
    plan = load_pipeline(pipeline, overrides)
    store.check_store(url)
    _check_images(url)
    with (
        working_on(url, f"run {plan.name}") as lease,
        open_executor(workers=workers, scheduler=scheduler, lease=lease) as executor,
    ):
        if on_start is not None:
            on_start(plan, executor)
        return run_stages(
            url,
            plan.stages,
            executor=executor,
            overwrite=overwrite,
            progress=progress,
            time_limit_s=time_limit_s,
        )


def _check_images(url: str) -> None:
    """Refuse a store of which no image can be read: every stage would say something else."""
    if "images" not in store.group_names(url):
        return  # the first stage says what to do
    columns = store.read_columns(url, "images", "image", ("image", "ok", "problem"))
    if not columns["ok"].any():
        example = f": {columns['image'][0]}: {columns['problem'][0]}" if columns["ok"].size else ""
        raise InputError(f"none of the {columns['ok'].size} images of {url} could be read{example}")


def _stage(path: Path, key: str) -> Stage:
    if key not in STAGES:
        raise InputError(
            f"{path}: unknown stage {key!r}{nearest(key, list(STAGES))}: "
            f"expected one of {', '.join(STAGES)}"
        )
    return STAGES[key]


def _ordered(
    pairs: list[tuple[Stage, StageParameters]],
) -> tuple[tuple[Stage, StageParameters], ...]:
    """Stages so that each comes after those it reads; ties as in the file."""
    names = {stage.name for stage, _ in pairs}
    ordered: list[tuple[Stage, StageParameters]] = []
    placed: set[str] = set()
    rest = list(pairs)
    while rest:
        ready = next(p for p in rest if placed.issuperset(names.intersection(inputs_of(*p))))
        rest.remove(ready)
        placed.add(ready[0].name)
        ordered.append(ready)
    return tuple(ordered)


def _pipeline_folder() -> Path:
    """Packaged pipelines; in a source checkout they stand beside the package."""
    packaged = Path(__file__).parent / "_pipelines"
    return packaged if packaged.is_dir() else Path(__file__).parent.parent / "pipelines"
