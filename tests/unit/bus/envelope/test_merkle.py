from __future__ import annotations

import random

import pytest

from bus.envelope import Reason, Refused
from bus.envelope.merkle import ProvenTree, leaf_hash, leaf_prefix, paths, tree
from tests.unit.bus.envelope import reference
from tests.unit.bus.envelope.world import reason_of

SIZES = [*range(1, 70), 127, 128, 129, 1000, 1024]


def leaves_of(size: int) -> list[bytes]:
    return [reference.sha256(b"leaf %d" % i) for i in range(size)]


class Root:
    """Believes one root, and counts how often it was asked."""

    def __init__(self, root: bytes) -> None:
        self.root = root
        self.asked = 0

    def __call__(self, root: bytes) -> None:
        self.asked += 1
        assert root == self.root


@pytest.mark.parametrize("size", SIZES)
def test_tree_and_paths_are_those_of_rfc_6962(size: int) -> None:
    leaves = leaves_of(size)
    levels = tree(leaves)
    assert levels[-1] == [reference.mth(leaves)]
    found = paths(levels)
    for index in range(0, size, max(1, size // 50)):
        assert found[index] == b"".join(reference.path(index, leaves))


@pytest.mark.parametrize("size", SIZES)
def test_every_leaf_proves_in_any_order_with_one_look_at_the_signature(size: int) -> None:
    leaves = leaves_of(size)
    levels = tree(leaves)
    found = paths(levels)
    root = Root(levels[-1][0])
    proven = ProvenTree(size)
    order = list(range(size))
    random.Random(size).shuffle(order)
    for index in order:
        proven.prove(index, leaves[index], found[index], root)
    assert proven.root == root.root
    assert root.asked == 1


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("is_warm", [False, True])
def test_any_other_path_is_refused(size: int, is_warm: bool) -> None:
    leaves = leaves_of(size)
    levels = tree(leaves)
    found = paths(levels)
    root = Root(levels[-1][0])
    for index in range(size):
        proven = ProvenTree(size)
        if is_warm:
            for other in range(size):
                proven.prove(other, leaves[other], found[other], root)
        path = found[index]
        wrong = [
            path[:-1],
            path[:-32],
            path + bytes(32),
            path + b"\0",
            path[::-1],
            bytes(len(path)),
        ]
        wrong += [
            bytes(byte ^ (1 << bit) if at == place else byte for at, byte in enumerate(path))
            for place in range(len(path))
            for bit in (0, 7)
        ]
        for other_path in wrong:
            if other_path == path:
                continue
            with pytest.raises((AssertionError, Refused)) as caught:
                proven.prove(index, leaves[index], other_path, root)
            assert is_warm is isinstance(caught.value, Refused) or len(other_path) != len(path)
        proven.prove(index, leaves[index], path, root)


def test_leaf_that_is_not_in_the_tree_is_refused_when_its_place_is_known() -> None:
    leaves = leaves_of(4)
    levels = tree(leaves)
    found = paths(levels)
    root = Root(levels[-1][0])
    proven = ProvenTree(4)
    proven.prove(0, leaves[0], found[0], root)
    forged = reference.sha256(b"forged")
    for index in range(4):
        assert reason_of(proven.prove, index, forged, found[index], root) is Reason.BAD_PATH
    assert root.asked == 1


def test_leaf_number_beyond_the_batch_is_refused() -> None:
    proven = ProvenTree(4)
    assert reason_of(proven.prove, 4, bytes(32), b"", Root(b"")) is Reason.BAD_PATH


def test_refused_root_teaches_nothing() -> None:
    leaves = leaves_of(4)
    found = paths(tree(leaves))
    proven = ProvenTree(4)
    with pytest.raises(AssertionError):
        proven.prove(0, leaves[0], found[0], Root(b"another"))
    assert proven.root is None


def test_leaf_hash_binds_each_part_by_its_length() -> None:
    assert leaf_hash(leaf_prefix(b"batch"), b"head", b"body") == (
        reference.leaf(b"batch", b"head", b"body")
    )
    seen = {
        leaf_hash(leaf_prefix(b"ab"), b"c", b"d"),
        leaf_hash(leaf_prefix(b"a"), b"bc", b"d"),
        leaf_hash(leaf_prefix(b"a"), b"b", b"cd"),
    }
    assert len(seen) == 3
