"""What an ingest did, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class IngestReport:
    """What an ingest did, for people."""

    store: str
    added: tuple[str, ...]
    repaired: tuple[str, ...]
    unchanged: int
    duplicates: tuple[tuple[str, str], ...]
    failed: tuple[tuple[str, str], ...]
    without_pixel_size: tuple[str, ...]
    disagreements: tuple[str, ...]
    untagged: tuple[str, ...]
    pattern_misses: tuple[str, ...]
    warned: tuple[tuple[str, str], ...]
    retagged: tuple[str, ...]
    other_files: Mapping[str, int]

    def lines(self, listed: int = 10) -> list[str]:
        """The report as lines: a summary, then what deserves a look."""
        total = self.unchanged + len(self.added)
        new = len({image for image, _ in self.failed} & set(self.added))
        lines = [
            f"{self.store}: {len(self.added)} images added, {self.unchanged} were there, "
            f"{total} in all"
        ]
        rest: list[tuple[str, Sequence[str]]] = [
            (
                f"unreadable ({new} of them new), kept with the reason",
                [f"{i}: {r}" for i, r in self.failed],
            ),
            ("read again after repair", self.repaired),
            ("not added, same content as another", [f"{a} = {b}" for a, b in self.duplicates]),
            ("without a pixel size (pass --pixel-size NM)", self.without_pixel_size),
            ("tags on which sources disagree", self.disagreements),
            ("not in the tags table", self.untagged),
            ("name does not match the pattern", self.pattern_misses),
            ("to look at", [f"{i}: {w}" for i, w in self.warned]),
            ("tags changed", self.retagged),
            (
                "files of other kinds left aside",
                [f"{count} {suffix}" for suffix, count in sorted(self.other_files.items())],
            ),
        ]
        for title, entries in rest:
            if entries:
                lines.append(f"{title}: {len(entries)}")
                lines += [f"  {entry}" for entry in entries[:listed]]
                if len(entries) > listed:
                    lines.append(f"  and {len(entries) - listed} more")
        return lines
