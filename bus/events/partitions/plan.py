"""Who should work which partition: the same answer at every member, from the list of members alone. Pure.

Rendezvous hashing with a bound: every pair of partition and member has a weight, and pairs are served by falling weight
until the partition has a member, skipping members that have enough. A member that comes or goes shifts little more than
its own share.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

SLACK: Final = 1
"""How many partitions a member may have above an even share: room that spares moves."""


def assign(
    group: str, partitions: Iterable[int], members: Iterable[str], *, slack: int = SLACK
) -> dict[int, str]:
    """Partition to member; empty without members. Each gets at most ceil(partitions / members) + `slack`."""
    wanted, there = sorted(set(partitions)), sorted(set(members))
    if not there:
        return {}
    most = -(-len(wanted) // len(there)) + slack
    pairs = sorted(
        ((_weight(group, member, partition), partition, member) for member in there for partition in wanted),
        reverse=True,
    )  # fmt: skip
    load = dict.fromkeys(there, 0)
    plan: dict[int, str] = {}
    for _, partition, member in pairs:
        if partition not in plan and load[member] < most:
            plan[partition] = member
            load[member] += 1
    return plan


@lru_cache(maxsize=65_536)
def _weight(group: str, member: str, partition: int) -> bytes:
    return hashlib.blake2b(f"{group}\0{member}\0{partition}".encode(), digest_size=8).digest()


__all__ = ["SLACK", "assign"]
