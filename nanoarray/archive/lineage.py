"""What the blocks of a group were made from, and whether it still is what they would be made from.

Every image has a key in every group: a digest of the stage and of the image's keys in the groups
that the stage read. So a group knows which of its blocks a change upstream leaves good.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanoarray.archive import provenance as prov
from nanoarray.archive import store
from nanoarray.archive.rows import FAILED


class Lineage:
    """Keys and currency of the groups of a store as it is now; each is read and computed once."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._records: dict[str, dict[str, Any]] = {}
        self._keys: dict[str, list[str]] = {}
        self._current: dict[str, bool] = {}

    def record(self, group: str) -> dict[str, Any]:
        """The provenance of a group; empty where it is not there."""
        if group not in self._records:
            self._records[group] = store.provenance(self.url, group)
        return self._records[group]

    def is_current(self, group: str) -> bool:
        """As the function `is_current`."""
        if group not in self._current:
            self._current[group] = self._follows(group)
        return self._current[group]

    def input_keys(self, groups: Sequence[str], axis: str) -> dict[str, list[str]]:
        """Per input group, one key per image (or a single one for a table)."""
        keys = {group: self._image_keys(group) for group in groups}
        if axis == "whole" and "images" in keys:
            # What is computed of all images at once may depend on their tags.
            keys["images"] = [*keys["images"], prov.array_digest(store.read_tags(self.url))]
        return keys

    def _follows(self, group: str) -> bool:
        record = self.record(group)
        if not record.get("complete"):
            return False
        if "plan_key" not in record:  # it was not computed from other groups, as `images`
            return True
        names = record["input_groups"]
        for name in names:
            if self.record(name).get("digest") != record["basis"]["inputs"][name]:
                return False
            if not self.is_current(name):
                return False
        keys = self.input_keys(names, record["axis"])
        found = store.block_keys(self.url, group).tolist()
        return record["plan_key"] == prov.digest(record["digest"], keys) and found == expected_keys(
            record, keys
        )

    def _image_keys(self, group: str) -> list[str]:
        if group not in self._keys:
            self._keys[group] = self._compute_keys(group)
        return self._keys[group]

    def _compute_keys(self, group: str) -> list[str]:
        if group == "images":
            names = ("sha256", "pixel_size", "ok", "height", "width")
            columns = store.read_columns(self.url, "images", "image", names)
            values = (columns[n].tolist() for n in names)
            return [prov.digest(*row) for row in zip(*values, strict=True)]
        record = self.record(group)
        above = self.input_keys(record["input_groups"], record["axis"])
        head = (record["digest"], record["plan_digest"])
        failed = self._failures(group)
        if record["axis"] == "image":
            rows = zip(*above.values(), strict=True)
            return [
                prov.digest(head, row, *([failed[i]] if i in failed else []))
                for i, row in enumerate(rows)
            ]
        return [prov.digest(head, above, *([failed] if failed else []))]

    def _failures(self, group: str) -> dict[int, str]:
        """Rows that failed, with the reason: what read them is out of date once they do not."""
        if not self.record(group).get("failed"):
            return {}
        said = store.problem_rows(self.url, group)
        return {row: reason for row, reason in said if reason.startswith(FAILED)}


def is_current(url: str, group: str) -> bool:
    """Whether a group is complete and still follows from what it was made from.

    False after images were added or repaired, or a pixel size or tag that it depends on changed.
    """
    return Lineage(url).is_current(group)


def expected_keys(record: Mapping[str, Any], keys: Mapping[str, list[str]]) -> list[int]:
    """The key that every finished block must have."""
    length, size = int(record["length"]), int(record["block"])
    head = (record["digest"], record["plan_digest"], size)
    starts = range(0, length, size) if length else range(0)
    if record["axis"] == "image":
        rows = list(zip(*keys.values(), strict=True))
        return [prov.block_key(head, rows[s : s + size]) for s in starts]
    everything = prov.digest(keys)
    return [prov.block_key(head, everything, s) for s in starts]
