"""How many objects a store has, and how many requests it takes to make one."""

import numpy as np
import pytest
from fault_stage import drive, write_images

import nanoarray as na
from nanoarray.archive.layout import GroupPlan, array_plan, with_block
from nanoarray.archive.memory import Memory
from nanoarray.archive.place import PlainStore

TILES = {"tile_y": 60, "tile_x": 70, "angle": 36, "y": 884, "x": 1024}


def tiles_plan(images, *, block=4):
    names = ("projection_variance", "alignment", "valid", "problem")
    sizes = {"image": images, **TILES}
    arrays = tuple(array_plan("tiles", name, sizes, block=block) for name in names)
    return GroupPlan(arrays, "image", images, block)


def objects(plan):
    return sum(
        int(np.prod([-(-n // c) for n, c in zip(a.shape, a.chunks, strict=True)]))
        for a in plan.arrays
    )


@pytest.mark.parametrize(
    ("images", "block"), [(3, 4), (5_000, 4), (8_192, 8), (40_000, 32), (10**6, 64)]
)
def test_blocks_grow_with_the_archive_and_own_whole_chunks(images, block):
    plan = with_block(tiles_plan(images))
    assert plan.block == block
    assert all(plan.block % a.chunks[0] == 0 for a in plan.arrays)
    assert [a.shape for a in plan.arrays] == [a.shape for a in tiles_plan(images).arrays]


def test_a_group_that_goes_on_keeps_its_blocks():
    # Their texts, because the fill value is NaN.
    assert repr(with_block(tiles_plan(10**6), 4)) == repr(tiles_plan(10**6))
    assert with_block(tiles_plan(100), 64).block == 64


def test_images_of_many_pixels_are_in_smaller_blocks():
    sizes = {"image": 10**6, "y": 8192, "x": 8192}
    defect = array_plan("prepared", "defect", sizes, block=4)
    assert with_block(GroupPlan((defect,), "image", 10**6, 4)).block == 4
    assert defect.chunks[0] == 1


def test_small_arrays_of_images_share_objects():
    """Two objects an image in a large archive, of which one holds the projections."""
    assert objects(with_block(tiles_plan(65_536))) / 65_536 < 1.3
    pixels = array_plan("images", "intensity", {"image": 9, **TILES}, block=4, dtype="uint8")
    assert pixels.chunks[0] == 1  # written one by one


def test_a_memory_is_bounded_and_leaves_out_what_changes():
    memory = Memory("tiles")
    assert memory.keeps("prepared/defect/c/0/0/0")
    assert memory.keeps("tiles/valid/zarr.json")
    assert not memory.keeps("tiles/valid/c/0/0/0")
    for k in range(100):
        memory.put(f"prepared/defect/c/{k}/0/0", bytes(2**20))
    assert memory.get("prepared/defect/c/0/0/0") == (False, None)
    assert memory.get("prepared/defect/c/99/0/0") == (True, bytes(2**20))
    memory.put("images/problem/c/0", None)
    assert memory.get("images/problem/c/0") == (True, None)
    memory.forget("images/problem/c/0")
    assert memory.get("images/problem/c/0") == (False, None)


def test_a_block_takes_few_requests(tmp_path, monkeypatch):
    """What eight more blocks cost in reads and writes of objects: each is a request."""
    asked = []

    def counted(name):
        real = getattr(PlainStore, name)

        async def call(self, key, *arguments, **options):
            asked.append((name, key))
            return await real(self, key, *arguments, **options)

        return call

    counts = []
    for images in (8, 24):
        url = str(tmp_path / f"{images}.zarr")
        na.ingest(write_images(tmp_path / f"in{images}", images, 40), url)
        with monkeypatch.context() as patch:
            for name in ("get", "set", "delete"):
                patch.setattr(PlainStore, name, counted(name))
            asked.clear()
            drive(url)
            counts.append(len(asked))
    blocks = (24 - 8) / 2
    assert (counts[1] - counts[0]) / blocks <= 16, counts
