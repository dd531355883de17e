"""Put the tables of benchmarks/accuracy.py into docs/explanation/grain-maps.md.

python benchmarks/accuracy.py | tee accuracy.txt; python docs/fill_accuracy.py < accuracy.txt
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

PAGE = Path(__file__).parent / "explanation" / "grain-maps.md"
MARKED = re.compile(r"(<!-- accuracy -->\n).*?(<!-- end of accuracy -->)", re.S)


def tables(output: str) -> str:
    """The benchmark's tables with their titles; without the time, which is of one machine."""
    lines = []
    given = output.splitlines()
    for i, line in enumerate(given):
        if line.startswith("|"):
            lines.append("|".join(line.split("|")[:-2]) + "|")
        elif re.match(r"(met|MISSED) ", line):
            verdict, text = line.split(maxsplit=1)
            lines.append(f"- {text} ({verdict.lower()})")
        elif any(below.startswith("|") for below in given[i + 1 : i + 3]):
            lines.append(f"**{line.strip()}**" if line.strip() else "")
        else:
            lines.append(line)
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def main() -> None:
    filling = tables(sys.stdin.read())
    if "|" not in filling:
        sys.exit("no table on standard input: python benchmarks/accuracy.py > accuracy.txt first")
    page = PAGE.read_text(encoding="utf-8")
    filled, places = MARKED.subn(lambda m: f"{m[1]}\n{filling}\n\n{m[2]}", page)
    if places != 1:
        sys.exit(f"{PAGE} has {places} marked places, expected one")
    PAGE.write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main()
