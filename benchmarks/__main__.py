"""Run every benchmark: `python -m benchmarks [--quick]`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ORDER = ("bench_startup", "bench_radon", "bench_cluster", "accuracy", "bench_pipeline")


def main() -> None:
    """Run the benchmarks one after the other, each in a process of its own."""
    folder = Path(__file__).parent
    names = [*ORDER, *sorted({p.stem for p in folder.glob("bench_*.py")} - set(ORDER))]
    failed = []
    for name in names:
        print(f"\n=== {name}", flush=True)
        done = subprocess.run([sys.executable, str(folder / f"{name}.py"), *sys.argv[1:]])
        if done.returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
