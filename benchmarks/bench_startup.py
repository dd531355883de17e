"""Start-up times: `python -m benchmarks.bench_startup`. Limits: import 0.5 s, --help 1 s.

Each figure is the median of 9 fresh interpreters, after one that fills the file cache; beside it
what the interpreter alone takes in the same run.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

RUNS = 9
CASES = {
    "python -c pass": ("-c", "pass"),
    "import nanoarray": ("-c", "import nanoarray"),
    "nanoarray --help": ("-m", "nanoarray.cli", "--help"),
    "nanoarray run --help": ("-m", "nanoarray.cli", "run", "--help"),
}
LIMITS_S = {"import nanoarray": 0.5, "nanoarray --help": 1.0}


def seconds(arguments: tuple[str, ...]) -> float:
    """Median wall time [s] of a fresh interpreter."""
    times = []
    for _ in range(RUNS + 1):
        start = time.perf_counter()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main() -> int:
    slow = 0
    print(f"{'start-up':<22} {'median of ' + str(RUNS):>14} {'limit':>8}")
    for name, arguments in CASES.items():
        took, limit = seconds(arguments), LIMITS_S.get(name)
        slow += limit is not None and took > limit
        print(f"{name:<22} {took:>12.3f} s {'' if limit is None else f'{limit:.1f} s':>8}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
