"""Who may connect, how often, and how fast."""

from __future__ import annotations

from adapters.hl7v2.limits import Peers, Refusal


def peers(
    *, allow: tuple[str, ...] = (), most: int = 10, each: int = 10, rate: float = 0.0
) -> Peers:
    return Peers(
        allow=allow, max_connections=most, max_connections_per_peer=each, messages_per_second=rate
    )


def test_no_rate_means_no_wait() -> None:
    assert peers().delay_s("10.0.0.1", 0.0) == 0.0


def test_one_peer_cannot_take_all_places() -> None:
    p = peers(each=1)
    assert p.admit("10.0.0.1") is None
    assert p.admit("10.0.0.1") is Refusal.TOO_MANY_OF_PEER
    assert p.admit("10.0.0.2") is None
    p.leave("10.0.0.1")
    assert p.admit("10.0.0.1") is None


def test_places_are_bounded() -> None:
    p = peers(most=1)
    assert p.admit("10.0.0.1") is None
    assert p.admit("10.0.0.2") is Refusal.TOO_MANY
    assert p.connections == 1


def test_networks_hold_for_both_families_and_mapped_addresses() -> None:
    p = peers(allow=("10.1.0.0/16", "fd00::/8"))
    assert p.admit("10.1.2.3") is None
    assert p.admit("::ffff:10.1.2.3") is None
    assert p.admit("fd00::1%eth0") is None
    for stranger in ("10.2.0.1", "::ffff:10.2.0.1", "fe80::1", "", "no address"):
        assert p.admit(stranger) is Refusal.NOT_ALLOWED


def test_reconnecting_does_not_renew_the_allowance_and_memory_is_given_back() -> None:
    p = peers(rate=1.0)
    waits: list[float] = []
    for _ in range(3):
        assert p.admit("10.0.0.1") is None
        waits.append(p.delay_s("10.0.0.1", 0.0))
        p.leave("10.0.0.1")
        p.forget_idle(0.0)
    assert waits == [0.0, 1.0, 1.0]
    p.forget_idle(100.0)
    assert p.delay_s("10.0.0.1", 100.0) == 0.0
