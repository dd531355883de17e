"""Hostile and broken image files, and what the readers make of them.

    python tests/fuzz_readers.py --cases 10000 --seed 0

A case is a valid small file of some format with one kind of damage, or an OME-Zarr folder with any
(`fuzz_folders`), made from its number alone.
Every reader must give an image or an `ImageError` with a reason: no other exception, no crash, not
more than `SECONDS` of processor time, and no more memory than `MEMORY_BYTES` beyond the idle
process, which the operating system enforces; a reader that is stopped by it is a finding too,
unless it takes no more where there is more.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import os
import resource
import shutil
import struct
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable
from functools import cache
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import tifffile
from fuzz_folders import Folder, folder_case, folders, write_folder

SECONDS = 20.0
MEMORY_BYTES = 2**30
_EXTREMES = (0, 1, 2, 255, 256, 65_535, 2**31 - 1, 2**31, 2**32 - 1)
_BATCH = 250
#: Where a reader finds the memory too little, it is tried with so many times as much.
_AMPLE = 8


# --- valid files ------------------------------------------------------------------------------


@cache
def corpus() -> dict[str, bytes]:
    """One small valid file of every kind, by file name."""
    import imagecodecs
    from microscope_files import berkeley, dm3, mrc, ser, velox

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 4000, (64, 80)).astype(np.uint16)
    grey = (pixels >> 4).astype(np.uint8)
    fei = "[User]\r\nDate=01/01/2020\r\n[Scan]\r\nPixelWidth=2.5e-9\r\nPixelHeight=2.5e-9\r\n"
    files = {
        "plain.tif": _tiff(grey),
        "big.tif": _tiff(pixels, bigtiff=True),
        "motorola.tif": _tiff(pixels, byteorder=">"),
        "deflate.tif": _tiff(pixels, compression="zlib", tile=(32, 32), predictor=True),
        "lzw.tif": _tiff(grey, compression="lzw"),
        "jpeg.tif": _tiff(grey, compression="jpeg"),
        "float.tif": _tiff(pixels.astype(np.float32)),
        "rgb.tif": _tiff(np.stack([grey] * 3, -1), photometric="rgb"),
        "pages.tif": _tiff(np.stack([grey] * 3), photometric="minisblack"),
        "fei.tif": _tiff(grey, extratags=[(34682, "s", 0, fei, True)]),
        "ome.tif": _tiff(grey, ome=True, metadata={"axes": "YX", "PhysicalSizeX": 2.0}),
        "imagej.tif": _tiff(pixels, imagej=True, resolution=(2.0, 2.0), metadata={"unit": "nm"}),
        "a.png": imagecodecs.png_encode(grey),
        "b.png": imagecodecs.png_encode(pixels),
        "a.jpg": imagecodecs.jpeg8_encode(grey),
        "a.dm3": dm3(pixels),
        "stack.dm3": dm3(np.stack([pixels] * 2)),
        "a.ser": ser([pixels, pixels]),
        "velox.emd": velox([pixels[:, :, None]]),
        "berkeley.emd": berkeley(pixels),
        "a.mrc": mrc(np.stack([pixels] * 2)),
    }
    return files


def _tiff(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    if not options.get("ome") and not options.get("imagej"):
        options.setdefault("metadata", None)
    tifffile.imwrite(file, pixels, **options)
    return file.getvalue()


# --- whole files that are hostile ---------------------------------------------------------------


def _bomb_tiff(rng: np.random.Generator) -> bytes:
    """A TIFF that declares far more pixels than its compressed strip can hold."""
    side = int(rng.choice([20_000, 60_000, 2**31 - 1, 2**32 - 1]))
    data = zlib.compress(bytes(2 ** int(rng.integers(10, 22))))
    return _directory([(256, 4, 1, side), (257, 4, 1, side), (259, 3, 1, 8)], data)


def _bomb_png(rng: np.random.Generator) -> bytes:
    side = int(rng.choice([30_000, 100_000, 2**31 - 1]))
    head = struct.pack(">IIBBBBB", side, side, int(rng.choice([8, 16])), 0, 0, 0, 0)
    data = zlib.compress(bytes(2**20))
    chunks = [(b"IHDR", head), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in chunks
    )


def _many_tags(rng: np.random.Generator) -> bytes:
    """A directory that says it has more tags than there is file, or tags of absurd counts."""
    entries = [(int(t), 3, int(rng.choice(_EXTREMES)), 8) for t in rng.integers(200, 65_000, 40)]
    return _directory(sorted(entries), b"", count=int(rng.choice([40, 4000, 65_535])))


def _deep_chain(rng: np.random.Generator) -> bytes:
    """Thousands of directories, one after the other, or in a circle."""
    count = int(rng.choice([500, 5000, 50_000]))
    entry = struct.pack("<HHII", 256, 4, 1, 10)
    parts = [b"II*\0" + struct.pack("<I", 8)]
    for k in range(count):
        after = 8 + (k + 1) * 18 if k < count - 1 else int(rng.choice([0, 8]))
        parts.append(struct.pack("<H", 1) + entry + struct.pack("<I", after))
    return b"".join(parts)


def _directory(
    entries: list[tuple[int, int, int, int]], data: bytes, *, count: int | None = None
) -> bytes:
    """A little-endian TIFF of one directory; strips are ``data`` after it."""
    start = 8 + 2 + 12 * (len(entries) + 5) + 4
    usual = [(258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, start), (278, 4, 1, 2**32 - 1)]
    usual.append((279, 4, 1, len(data)))
    table = sorted([*entries, *(u for u in usual if u[0] not in {e[0] for e in entries})])
    body = b"".join(struct.pack("<HHII", *entry) for entry in table)
    size = len(table) if count is None else count
    return b"II*\0" + struct.pack("<IH", 8, size) + body + bytes(4) + data


def _linked_hdf5(rng: np.random.Generator) -> bytes:
    """HDF5 whose links lead to other files, or to themselves."""
    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as h5:
        group = h5.create_group("Data/Image/0")
        target = str(rng.choice(["/etc/passwd", "../../other.h5", "velox.emd"]))
        group["Data"] = h5py.ExternalLink(target, "/data")
        h5["Data/Image/1"] = h5py.SoftLink("/Data")
        h5["Data/Image/2"] = h5py.SoftLink("/nowhere")
        h5["Data/Image/3"] = h5py.ExternalLink(target, "/")
        loop = h5.create_group("loop")
        loop["again"] = h5["/"]
        loop.attrs["emd_group_type"] = 1
        loop["data"] = h5py.ExternalLink(target, "/data")
    return file.getvalue()


_HOSTILE: tuple[tuple[str, Callable[[np.random.Generator], bytes]], ...] = (
    ("bomb.tif", _bomb_tiff),
    ("bomb.png", _bomb_png),
    ("tags.tif", _many_tags),
    ("chain.tif", _deep_chain),
    ("links.emd", _linked_hdf5),
    ("noise.bin", lambda rng: rng.bytes(int(rng.integers(0, 2000)))),
)


# --- damage -----------------------------------------------------------------------------------


def _truncated(content: bytearray, rng: np.random.Generator) -> bytearray:
    places = [len(content) - 1, 4, 8, 16, 100, int(rng.integers(len(content)))]
    return content[: int(rng.choice(places))]


def _flipped(content: bytearray, rng: np.random.Generator) -> bytearray:
    for at in rng.integers(0, len(content), int(rng.integers(1, 40))):
        content[at] ^= 1 << int(rng.integers(8))
    return content


def _flipped_head(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Flip bits where the structure is, which is small beside the pixels."""
    reach = min(len(content), 2048)
    for at in rng.integers(0, reach, int(rng.integers(1, 12))):
        content[at] ^= 1 << int(rng.integers(8))
    return content


def _extreme(content: bytearray, rng: np.random.Generator) -> bytearray:
    """Replace numbers of 16 or 32 bits by extreme ones: dimensions, counts, offsets."""
    for _ in range(int(rng.integers(1, 4))):
        size, order = int(rng.choice([2, 4])), str(rng.choice(["little", "big"]))
        value = int(rng.choice(_EXTREMES)) % 256**size
        at = int(rng.integers(0, max(1, min(len(content), 4096) - size)))
        content[at : at + size] = value.to_bytes(size, order)
    return content


def _filled(content: bytearray, rng: np.random.Generator) -> bytearray:
    at, size = int(rng.integers(len(content))), int(rng.integers(1, 600))
    size = min(size, len(content) - at)
    content[at : at + size] = bytes([int(rng.choice([0, 255]))]) * size
    return content


def _removed(content: bytearray, rng: np.random.Generator) -> bytearray:
    at = int(rng.integers(len(content)))
    del content[at : at + int(rng.integers(1, 100))]
    return content


def _doubled(content: bytearray, rng: np.random.Generator) -> bytearray:
    at = int(rng.integers(len(content)))
    return content[:at] + content[max(0, at - 200) :]


DAMAGE = (_truncated, _flipped, _flipped_head, _extreme, _filled, _removed, _doubled)


def case(number: int, *, seed: int = 0) -> tuple[str, bytes | Folder]:
    """Name, which tells the damage, and content of a case."""
    rng = np.random.default_rng((seed, number))
    if number % 12 == 0:
        name, make = _HOSTILE[number // 12 % len(_HOSTILE)]
        return name, make(rng)
    if number % 6 == 1:
        return folder_case(rng, DAMAGE)
    files = corpus()
    name = list(files)[int(rng.integers(len(files)))]
    content = bytearray(files[name])
    damages = rng.choice(len(DAMAGE), int(rng.integers(1, 3)))
    for k in damages:
        if content:
            content = DAMAGE[k](content, rng)
    kinds = "".join(DAMAGE[k].__name__ for k in damages)
    return f"{kinds[1:]}_{name}", bytes(content)


def write_case(path: Path, content: bytes | Folder) -> None:
    """Put a case where it can be read."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        write_folder(path, content)


# --- the run ----------------------------------------------------------------------------------


def read_everything(path: Path) -> str:
    """Read all images of a file; gives "image" or the kind of refusal.

    Raises whatever a reader lets through that is not an ImageError.
    """
    from nanoarray.errors import ImageError
    from nanoarray.images.read import frames_of, open_source, quiet_tifffile, read_frame

    kinds = set()
    with quiet_tifffile():
        try:
            frames = frames_of(open_source(path))
        except ImageError as error:
            return _refusal(error)
        if not frames:
            return "no reason"
        for frame in frames[:3]:
            try:
                read_frame(frame)
                kinds.add("image")
            except ImageError as error:
                kinds.add(_refusal(error))
    return next((k for k in kinds if k not in ("image", "refused")), min(kinds))


def _refusal(error: Exception) -> str:
    """How a reader refused: one that ran into the limit of memory would have filled another."""
    text = str(error)
    return "no memory" if "memory" in text else "refused" if text else "no reason"


def asks_in_vain(path: Path) -> bool:
    """Whether a reader refuses a file for want of memory without taking any, were there more.

    Libraries ask for what a damaged length says; where that is absurd, no machine grants it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
    before = _most_memory()
    try:
        outcome = read_everything(path)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    return outcome in ("no memory", "refused") and _most_memory() - before < MEMORY_BYTES


def _most_memory() -> int:
    """The most memory this process has held so far [bytes]."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _work(pipe: Connection, numbers: range, seed: int, folder: str) -> None:
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 -- libraries write to it what they find wrong
    os.dup2(sys.stderr.fileno(), 2)
    os.dup2(sys.stderr.fileno(), 1)
    warnings.simplefilter("ignore")
    for content_name in ("plain.tif", "velox.emd", "a.dm3", "a.mrc", "a.png", "a.jpg", "a.ser"):
        path = Path(folder, content_name)
        path.write_bytes(corpus()[content_name])
        read_everything(path)  # so that what is imported does not count
    folders()
    idle = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (idle + MEMORY_BYTES, idle + _AMPLE * MEMORY_BYTES))
    for number in numbers:
        name, content = case(number, seed=seed)
        path = Path(folder, f"case_{name}")
        write_case(path, content)
        pipe.send(("begin", number, name))
        start = time.process_time()
        try:
            outcome = read_everything(path)
            if outcome == "no memory" and asks_in_vain(path):
                outcome = "refused"
        except Exception as error:  # the finding itself
            outcome = f"{type(error).__name__}: {error}"
        pipe.send(("end", number, name, outcome, time.process_time() - start))
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    pipe.send(("done",))


def _next_message(pipe: Connection, pid: int, turns: int) -> tuple | None:
    """What the process tells next; None where it hangs.

    On a busy machine it may wait long for its turn: so `SECONDS` are those of the processor, or
    ``turns`` times as many by the clock, where it waits for something that never comes.
    """
    before = _processor_seconds(pid)
    for _ in range(turns):
        if pipe.poll(SECONDS):
            return pipe.recv()
        if _processor_seconds(pid) - before > SECONDS:
            return None
    return None


def _processor_seconds(pid: int) -> float:
    """Processor time of a process and its children that have ended [s]; 0 once it is gone."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def run(cases: int, *, seed: int = 0, first: int = 0) -> tuple[Counter[str], list[str], float]:
    """Run cases; gives the counts of outcomes, the findings, and the longest time [s]."""
    counts: Counter[str] = Counter()
    findings: list[str] = []
    longest, told = 0.0, 0
    context = multiprocessing.get_context("spawn")
    at, end = first, first + cases
    with tempfile.TemporaryDirectory() as folder:
        while at < end:
            numbers = range(at, min(at + _BATCH, end))
            mine, theirs = context.Pipe(duplex=False)
            worker = context.Process(target=_work, args=(theirs, numbers, seed, folder))
            worker.start()
            theirs.close()
            last: tuple = ("begin", at, "start")
            while True:
                try:
                    # A busy machine may take minutes to begin: that is no reader's fault.
                    turns = 100 if last[2] == "start" else 10
                    message = _next_message(mine, worker.pid, turns)
                except EOFError:
                    findings.append(f"case {last[1]} {last[2]}: the process crashed")
                    break
                if message is None:
                    findings.append(f"case {last[1]} {last[2]}: longer than {SECONDS:g} s")
                    break
                last = message
                if message[0] == "done":
                    break
                if message[0] == "end":
                    _, number, name, outcome, seconds = message
                    longest = max(longest, seconds)
                    counts[outcome if outcome in ("image", "refused") else "finding"] += 1
                    if outcome not in ("image", "refused"):
                        findings.append(f"case {number} {name}: {outcome}")
            worker.kill()
            worker.join()
            mine.close()
            at = numbers.stop if last[0] == "done" else last[1] + 1
            lines = [f"{at - first} of {cases}, {len(findings)} findings", *findings[told:]]
            print("\n".join(lines), file=sys.stderr, flush=True)
            told = len(findings)
    return counts, findings, longest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    start = time.monotonic()
    counts, findings, longest = run(options.cases, seed=options.seed, first=options.first)
    print(f"{sum(counts.values())} cases in {time.monotonic() - start:.0f} s: {dict(counts)}")
    print(f"longest {longest:.2f} s (limit {SECONDS:g} s), memory limit {MEMORY_BYTES >> 20} MiB")
    print("\n".join(findings) or "nothing found")
    raise SystemExit(bool(findings))


if __name__ == "__main__":
    main()
