"""Hostile OME-Zarr folders for the fuzz: what may stand in their documents, files and links.

A folder is a mapping of relative names to what is there: bytes of a file, or a `Special`.
"""

from __future__ import annotations

import bz2
import copy
import json
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np


@dataclass(frozen=True)
class Special:
    """No plain file: a link to ``target``, a pipe, a folder, or a file of ``size`` zeros."""

    kind: Literal["link", "pipe", "folder", "sparse"]
    target: str = ""
    size: int = 0


Folder = dict[str, bytes | Special]
Damage = Callable[[bytearray, np.random.Generator], bytearray]


def write_folder(path: Path, folder: Folder) -> None:
    """Write a folder; names that the file system refuses are left out."""
    path.mkdir()
    for name, content in folder.items():
        place = path / name
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, bytes):
                place.write_bytes(content)
            elif content.kind == "link":
                place.symlink_to(content.target)
            elif content.kind == "pipe":
                os.mkfifo(place)
            elif content.kind == "folder":
                place.mkdir()
            else:
                place.touch()
                os.truncate(place, content.size)
        except OSError:
            continue


@cache
def folders() -> dict[str, Folder]:
    """Valid OME-Zarr of both formats, by name."""
    import tempfile

    import numcodecs
    import zarr

    pixels = np.random.default_rng(0).integers(0, 4000, (64, 80)).astype(np.uint16)
    made: dict[str, Folder] = {}
    kinds = {
        "v2.zarr": {"zarr_format": 2, "compressors": numcodecs.Blosc()},
        "gzip.zarr": {"zarr_format": 2, "compressors": numcodecs.GZip()},
        "v3.zarr": {"zarr_format": 3},
        "shards.zarr": {"zarr_format": 3, "shards": (64, 64)},
        "stack.zarr": {"zarr_format": 3},
    }
    with tempfile.TemporaryDirectory() as place:
        for name, options in kinds.items():
            axes = "zyx" if name == "stack.zarr" else "yx"
            data = np.stack([pixels] * 3) if len(axes) == 3 else pixels
            group = zarr.open_group(f"{place}/{name}", mode="w", zarr_format=options["zarr_format"])
            chunks = (1, 32, 32)[-len(axes) :]
            group.create_array(
                "0",
                shape=data.shape,
                dtype=data.dtype,
                chunks=chunks,
                **{k: v for k, v in options.items() if k != "zarr_format"},
            )[...] = data
            scale = [{"type": "scale", "scale": [2.0] * len(axes)}]
            entry = {
                "axes": [{"name": a, "type": "space", "unit": "nanometer"} for a in axes],
                "datasets": [{"path": "0", "coordinateTransformations": scale}],
            }
            v2 = options["zarr_format"] == 2
            listed = {"multiscales": [{"version": "0.4", **entry}]}
            group.attrs.update(listed if v2 else {"ome": {"version": "0.5", **listed}})
            made[name] = {
                str(file.relative_to(f"{place}/{name}")): file.read_bytes()
                for file in sorted(Path(place, name).rglob("*"))
                if file.is_file()
            }
    return made


def folder_case(rng: np.random.Generator, damage: tuple[Damage, ...]) -> tuple[str, Folder]:
    """A name that tells what was done, and a damaged folder."""
    name = str(rng.choice(list(folders())))
    folder = dict(folders()[name])
    for _ in range(int(rng.integers(1, 3))):
        change = _CHANGES[int(rng.integers(len(_CHANGES)))]
        if change is _bytes:
            _bytes(folder, rng, damage[int(rng.integers(len(damage)))])
        else:
            change(folder, rng)
    return f"folder_{name}", folder


# --- changes ----------------------------------------------------------------------------------

_DOCUMENTS = ("zarr.json", ".zattrs", ".zarray", ".zgroup")
#: What a number, text or list of a document may be replaced by.
VALUES: tuple[Any, ...] = (
    *(0, 1, -1, 2, 255, 2**16, 2**31, 2**40, 2**63, 2**64, 10**400, 1e308, -0.5, True, None),
    *(
        "",
        "0",
        "..",
        "../..",
        "/etc",
        "/etc/passwd",
        "0/../../v2.zarr/0",
        "a\0b",
        "\ud800",
        "x" * 9000,
    ),
    *([], {}, [[]], [0], [1, 1], [-1, -1], [2**31, 2**31], [1, 10**9], [0, 0], [64.5, 80]),
    *("NaN", "0xzz", "|O", "object", "<U9", "<M8[ns]", "complex64", "pickle", "numcodecs.pickle"),
    {"id": "pickle"},
    {"id": "json2"},
    {"id": "zlib", "level": "x"},
    {"name": "zstd", "configuration": {"level": {}}},
    [{"name": "bytes"}, {"name": "gzip"}, {"name": "gzip"}],
    [{"id": "vlen-utf8"}, {"id": "pickle"}],
)


def _loaded(content: bytes | Special) -> Any:
    """What a document says; nothing where an earlier change has spoiled it."""
    try:
        return json.loads(content) if isinstance(content, bytes) else None
    except (ValueError, RecursionError):
        return None


def _bytes(folder: Folder, rng: np.random.Generator, damage: Damage) -> None:
    """Damage of the bytes of one file, as of any other format."""
    name = _file(folder, rng)
    content = folder[name]
    if isinstance(content, bytes) and content:
        folder[name] = bytes(damage(bytearray(content), rng))


def _document(folder: Folder, rng: np.random.Generator) -> None:
    """Replace values anywhere in a document."""
    names = [n for n in folder if n.rsplit("/", 1)[-1] in _DOCUMENTS]
    name = str(rng.choice(names))
    document = _loaded(folder[name])
    for _ in range(int(rng.integers(1, 3))):
        holders = list(_holders(document))
        if not holders:
            break
        holder, key = holders[int(rng.integers(len(holders)))]
        if rng.random() < 0.2:
            del holder[key]
        else:
            # A copy: the next change may go into it.
            holder[key] = copy.deepcopy(VALUES[int(rng.integers(len(VALUES)))])
    folder[name] = json.dumps(document).encode("utf-8", "surrogatepass")


def _holders(node: Any) -> Any:
    """Every (container, key) of a document."""
    pairs = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, value in list(pairs):
        yield node, key
        yield from _holders(value)


def _bomb(folder: Folder, rng: np.random.Generator) -> None:
    """A chunk that unpacks to gigabytes, or is a file of terabytes."""
    name = _chunk(folder, rng)
    kind = int(rng.integers(4))
    if kind == 0:
        folder[name] = Special("sparse", size=2 ** int(rng.integers(28, 42)))
    elif kind == 1:
        folder[name] = _gzip_member() * int(rng.choice([1, 64, 1024]))
    elif kind == 2:
        folder[name] = _bz2_stream() * 256
    else:
        packed = folder[name]
        if isinstance(packed, bytes) and len(packed) >= 16:
            size = int(rng.choice([2**20, 2**30, 2**31, 2**32 - 1])).to_bytes(4, "little")
            folder[name] = packed[:4] + size + packed[8:]


@cache
def _gzip_member() -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return packer.compress(bytes(2**24)) + packer.flush()


@cache
def _bz2_stream() -> bytes:
    return bz2.compress(bytes(2**22))


def _huge(folder: Folder, rng: np.random.Generator) -> None:
    """Absurd shapes and chunks that agree with each other."""
    sides = [1, 2, 7, 1000, 2**15, 2**20, 2**31, 2**62]
    for name, content in folder.items():
        if not isinstance(content, bytes) or b'"chunk' not in content:
            continue
        document = _loaded(content)
        shape = [int(rng.choice(sides)) for _ in range(int(rng.choice([0, 1, 2, 2, 3, 5, 40])))]
        chunks = [int(rng.choice([1, n, max(1, n // 7), 512])) for n in shape]
        if isinstance(document, dict) and "shape" in document:
            document["shape"] = shape
            if "chunks" in document:
                document["chunks"] = chunks
            elif rng.random() < 0.7:
                document["chunk_grid"] = {
                    "name": "regular",
                    "configuration": {"chunk_shape": chunks},
                }
            folder[name] = json.dumps(document).encode()


def _deep(folder: Folder, rng: np.random.Generator) -> None:
    """Documents of endless nesting, of megabytes, or of numbers without end."""
    names = [n for n in folder if n.rsplit("/", 1)[-1] in _DOCUMENTS]
    name, kind = str(rng.choice(names)), int(rng.integers(4))
    head = b'{"multiscales": '
    folder[name] = (
        head + b"[" * 200_000,
        head + b'{"a":' * 100_000,
        head + b'[{"axes": ' + b"9" * 10_000 + b"}]}",
        head + b"[" + b"0," * 3_000_000 + b"0]}",
    )[kind]


def _contradiction(folder: Folder, rng: np.random.Generator) -> None:
    """Metadata of both formats, or consolidated metadata that say something else."""
    array = next((n for n in folder if n.endswith("0/.zarray")), "")
    if not array:
        document = {"zarr_format": 2, "shape": [9, 9], "chunks": [9, 9], "dtype": "|O"}
        folder["0/.zarray"] = json.dumps(document | {"filters": [{"id": "pickle"}]}).encode()
        return
    document = _loaded(folder[array])
    document = document if isinstance(document, dict) else {}
    document["filters"] = [{"id": "pickle"}]
    if rng.random() < 0.5:
        meta = {"0/.zarray": document, ".zgroup": {"zarr_format": 2}}
        folder[".zmetadata"] = json.dumps(
            {"zarr_consolidated_format": 1, "metadata": meta}
        ).encode()
    else:
        folder["0/zarr.json"] = json.dumps({"zarr_format": 3, "node_type": "array"}).encode()


def _special(folder: Folder, rng: np.random.Generator) -> None:
    """A link, pipe or folder where a file should be."""
    targets = ["/etc/passwd", "/dev/zero", "..", ".", "nothing", "../case_folder_v2.zarr", "0"]
    options = [Special("link", str(rng.choice(targets))), Special("pipe"), Special("folder")]
    name = _file(folder, rng)
    folder[name] = options[int(rng.integers(len(options)))]
    if rng.random() < 0.3:
        folder["0/again"] = Special("link", str(rng.choice(["..", ".", "again"])))


def _gone(folder: Folder, rng: np.random.Generator) -> None:
    del folder[_file(folder, rng)]


_CHANGES: tuple[Callable[..., None], ...] = (
    *(_bytes, _bytes, _document, _document, _document),
    *(_bomb, _huge, _deep, _contradiction, _special, _gone),
)


def _file(folder: Folder, rng: np.random.Generator) -> str:
    return str(rng.choice(list(folder)))


def _chunk(folder: Folder, rng: np.random.Generator) -> str:
    names = [n for n in folder if n.rsplit("/", 1)[-1] not in _DOCUMENTS] or list(folder)
    return str(rng.choice(names))
