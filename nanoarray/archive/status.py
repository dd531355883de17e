"""What a store holds and how far it is."""

from __future__ import annotations

import os
from typing import Any

from nanoarray.archive import store
from nanoarray.archive.engine import is_current


def store_status(url: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """One row per group: completeness, blocks done, failures, size, digest, time.

    ``current`` is False where a complete group no longer follows from its inputs: images were
    added, or a pixel size or tag was corrected, since it was made.

    Raises
    ------
    InputError
        When ``url`` is no store.
    """
    url = store.as_url(url)
    store.check_store(url)
    rows = []
    for group in store.group_names(url):
        record = store.provenance(url, group)
        keys = store.block_keys(url, group)
        rows.append(
            {
                "group": group,
                "complete": bool(record.get("complete")),
                "current": is_current(url, group),
                "blocks": len(keys),
                "blocks_done": int((keys != 0).sum()),
                "rows": int(record.get("length", 0)),
                "failed": int(record.get("failed", 0)),
                "left_out": int(record.get("left_out", 0)),
                "bytes": store.group_size_bytes(url, group),
                "digest": str(record.get("digest", "")),
                "finished": str(record.get("finished", "")),
                "seconds": float(record.get("seconds", 0.0)),
            }
        )
    return rows
