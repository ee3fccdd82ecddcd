"""Stages of P's Inception and of a small network, in all three orders."""

from __future__ import annotations

import pytest

from salsanity.errors import SpecError
from salsanity.models.blocks import Block
from salsanity.randomizers.stages import full_of, half_of, stages_of

BLOCKS = [Block(name, (name,)) for name in ("conv1", "conv2", "fc1", "fc2")]


def table(order: str) -> list[tuple[int, str, tuple[str, ...]]]:
    return [(s.index, s.name, s.blocks) for s in stages_of(BLOCKS, order)]


def test_top_down_adds_blocks_from_the_logits_down():
    assert table("top_down") == [
        (1, "fc2", ("fc2",)),
        (2, "fc1", ("fc1", "fc2")),
        (3, "conv2", ("conv2", "fc1", "fc2")),
        (4, "conv1", ("conv1", "conv2", "fc1", "fc2")),
    ]


def test_bottom_up_adds_blocks_from_the_input_up():
    assert table("bottom_up") == [
        (1, "conv1", ("conv1",)),
        (2, "conv2", ("conv1", "conv2")),
        (3, "fc1", ("conv1", "conv2", "fc1")),
        (4, "fc2", ("conv1", "conv2", "fc1", "fc2")),
    ]


def test_independent_ends_with_everything():
    assert table("independent") == [
        (1, "fc2", ("fc2",)),
        (2, "fc1", ("fc1",)),
        (3, "conv2", ("conv2",)),
        (4, "conv1", ("conv1",)),
        (5, "full", ("conv1", "conv2", "fc1", "fc2")),
    ]


@pytest.mark.parametrize(("count", "half"), [(1, None), (2, None), (3, 2), (4, 2), (5, 3), (17, 9)])
def test_half_has_the_larger_half_of_the_blocks(count, half):
    stages = stages_of([Block(f"b{i}", ()) for i in range(count)])
    found = half_of(stages)
    assert (found and len(found.blocks)) == half
    assert len(full_of(stages).blocks) == count


def test_unknown_order():
    with pytest.raises(SpecError, match="sideways"):
        stages_of(BLOCKS, "sideways")
