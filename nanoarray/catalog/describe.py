"""The record of a store: read from what the store says of itself, and from its arrays."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from pydantic import ValidationError

from nanoarray import schema
from nanoarray.archive import provenance as prov
from nanoarray.archive import store
from nanoarray.archive.lineage import Lineage
from nanoarray.archive.open_table import NOT_TAGS
from nanoarray.catalog.contents import checksum, group_arrays
from nanoarray.catalog.record import (
    RECORD_VERSION,
    GroupRecord,
    InputRecord,
    PipelineRecord,
    Record,
    TagRecord,
)
from nanoarray.errors import InputError
from nanoarray.pipeline import STAGES, load_pipeline, pipeline_names, pipeline_path


def describe(
    url: str,
    *,
    product: str,
    address: str,
    pipeline: str | None = None,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    **about: Any,
) -> Record:
    """Describe a store as a product.

    Parameters
    ----------
    url
        The store; all its groups are read once, for their checksums.
    product
        Id of the product.
    address
        The store's address as the record is to have it.
    pipeline
        Name or file of the pipeline that was run; by default one is written that says the same.
    settings
        What was changed of it, stage -> parameter -> value.
    progress
        Called with each group, how many are done, and how many there are.
    **about
        ``title``, ``description``, ``licence``, ``citation``, ``commands``, ``added``.

    Raises
    ------
    InputError
        When ``url`` is no store, holds nothing, or holds a group that is incomplete or out of date.
    """
    store.check_store(url)
    lineage = Lineage(url)
    names = store.group_names(url)
    if "images" not in names:
        raise InputError(f"{url} holds no images: ingest some and run a pipeline first")
    for name in names:
        if not lineage.is_current(name):
            state = "out of date" if lineage.record(name).get("complete") else "incomplete"
            raise InputError(
                f"{url}: group {name!r} is {state}; a product is finished: run its pipeline again"
            )
    groups = {}
    for done, name in enumerate(names):
        if progress is not None:
            progress(name, done, len(names))
        groups[name] = _group(url, name, lineage.record(name))
    inputs, tags = image_inputs(url)
    software = _together([g.software for g in groups.values()])
    now = prov.now()
    return Record(
        record_version=RECORD_VERSION,
        id=product,
        title=str(about.get("title") or product),
        description=str(about.get("description") or ""),
        store=address,
        store_format=schema.FORMAT_VERSION,
        added=str(about.get("added") or now),
        changed=now,
        licence=str(about.get("licence") or ""),
        citation=str(about.get("citation") or ""),
        commands=list(about.get("commands") or []),
        pipeline=_pipeline(pipeline, settings or {}, groups),
        software={name: v for name, v in software.items() if name != "revision"},
        code_revision=software.get("revision", ""),
        counts={name: group.rows for name, group in groups.items()},
        tags=tags,
        groups=groups,
        inputs=inputs,
    )


def slug(url: str) -> str:
    """An id for the product of a store, from the store's name."""
    name = url.rstrip("/").rsplit("/", 1)[-1].removesuffix(".zarr")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-._")[:100] or "product"


def _group(url: str, name: str, record: Mapping[str, Any]) -> GroupRecord:
    arrays = group_arrays(url, name)
    return GroupRecord(
        **made_how(record),
        created=str(record.get("created", "")),
        finished=str(record.get("finished", "")),
        software=record.get("software", {}),
        sha256=checksum(arrays),
        arrays=arrays,
    )


def made_how(record: Mapping[str, Any]) -> dict[str, Any]:
    """What a store says of how a group was made, under the names that `GroupRecord` has."""
    basis = record.get("basis", {})
    return {
        "digest": record.get("digest"),
        "kernel_version": int(basis.get("kernel_version", 0)),
        "parameters": basis.get("parameters", {}),
        "resolved": record.get("resolved", {}),
        "inputs": basis.get("inputs", {}),
        "rows": int(record.get("length", 0)),
        "failed": int(record.get("failed", 0)),
        "left_out": int(record.get("left_out", 0)),
    }


def _together(all_software: list[dict[str, str]]) -> dict[str, str]:
    found: dict[str, dict[str, None]] = {}
    for software in all_software:
        for name, version in software.items():
            found.setdefault(name, {})[version] = None
    return {name: ", ".join(versions) for name, versions in found.items()}


def image_inputs(url: str) -> tuple[list[InputRecord], dict[str, TagRecord]]:
    """Every image with what is known about it, and the range of each tag."""
    ds = store.open_group(url, "images")
    columns = {
        str(name): v
        for name, v in ds.variables.items()
        if v.dims == ("image",) and name not in NOT_TAGS - {"sha256"}
    }
    values = {name: np.asarray(v.values).tolist() for name, v in columns.items()}
    images, shas = values.pop("image"), values.pop("sha256")
    order = {name: i for i, name in enumerate(schema.GROUPS["images"])}
    names = sorted(values, key=lambda n: (order.get(n, len(order)), n))
    # What every image lacks says nothing.
    known = {n: [_known(v) for v in values[n]] for n in names}
    names = [n for n in names if any(v is not None for v in known[n])]
    try:
        inputs = [
            InputRecord(
                image=str(image),
                sha256=str(sha),
                tags={n: known[n][i] for n in names if known[n][i] is not None},
            )
            for i, (image, sha) in enumerate(zip(images, shas, strict=True))
        ]
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"{url} has an image that cannot be recorded: {first['loc'][0]} {first['input']!r}: "
            f"{first['msg'].removeprefix('Value error, ')}"
        ) from None
    tags = {}
    for name in names:
        units = str(columns[name].attrs.get("units", "")) or "1"
        tags[name] = TagRecord.of(units, [v for v in known[name] if v is not None])
    return inputs, tags


def _known(value: Any) -> float | str | None:
    if isinstance(value, str):
        return value or None
    return None if value != value else float(value)


# --- the pipeline -----------------------------------------------------------------------------


def _pipeline(
    name: str | None, settings: Mapping[str, Mapping[str, Any]], groups: Mapping[str, GroupRecord]
) -> PipelineRecord:
    if name is None:
        name = _packaged(groups)
    if name is None:
        stages = {n: given_parameters(n, g.parameters) for n, g in groups.items() if n in STAGES}
        return PipelineRecord(name="as recorded in the store", file=to_toml(stages).splitlines())
    loaded = load_pipeline(name, settings)
    for stage, parameters in loaded.stages:
        wanted = parameters.model_dump(mode="json")
        made = groups[stage.name].parameters if stage.name in groups else None
        if made != wanted:
            changed = prov.differences(made, wanted) if made is not None else ["it is not there"]
            reason = f"({'; '.join(changed)})"
            raise InputError(f"pipeline {name!r} is not what made {stage.name!r} {reason}")
    text = pipeline_path(name).read_text(encoding="utf-8")
    return PipelineRecord(
        name=loaded.name, file=text.splitlines(), settings={k: dict(v) for k, v in settings.items()}
    )


def _packaged(groups: Mapping[str, GroupRecord]) -> str | None:
    """The packaged pipeline that says just what made these groups; None where there is none."""
    made = {name: group.parameters for name, group in groups.items() if name in STAGES}
    for name in pipeline_names():
        wanted = {s.name: p.model_dump(mode="json") for s, p in load_pipeline(name).stages}
        if wanted == made:
            return name
    return None


def to_toml(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """A pipeline file with these parameters; what is None is left to its default."""
    parts = []
    for stage, parameters in stages.items():
        rows = [f"{k} = {_toml(v)}" for k, v in parameters.items() if v is not None]
        parts.append("\n".join([f"[{stage}]", *rows]))
    return "\n\n".join(parts) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return '"' + re.sub(r"[\x00-\x1f\x7f]", lambda m: f"\\u{ord(m[0]):04x}", escaped) + '"'
    return repr(value)


def given_parameters(stage: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Recorded parameters without those that follow from others, such as digests of files."""
    model = STAGES[stage].parameters
    return {k: v for k, v in parameters.items() if k not in model.model_computed_fields}


def same_product(record: Record, url: str) -> str:
    """Why the store at ``url`` is not the one that a record describes; "" where it is.

    Compared are the images with their tags and the digests of all groups, not the arrays.
    """
    names = store.group_names(url)
    found = {name: str(store.provenance(url, name).get("digest")) for name in names}
    recorded = {name: group.digest for name, group in record.groups.items()}
    if found != recorded:
        changed = prov.differences(recorded, found)
        return f"its groups were made otherwise ({'; '.join(changed)})"
    inputs, _ = image_inputs(url)
    ids = [(i.image, i.sha256) for i in inputs]
    if ids != [(i.image, i.sha256) for i in record.inputs]:
        return f"it holds other images ({len(ids)}, recorded {len(record.inputs)})"
    changed = [i.image for i, r in zip(inputs, record.inputs, strict=True) if i != r]
    return f"tags of {len(changed)} images changed, such as {changed[0]!r}" if changed else ""
