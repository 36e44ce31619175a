"""Windows fill a long line without filling its buffers, share it, and find back after losses, cuts and changes."""

from __future__ import annotations

import pytest

from bus.flow import AimdWindow, DelayWindow, Window, WindowLimits
from tests.unit.bus.flow.long_link import LongLink, Sender

MBIT = 125_000
KIB = 1024


def alone(
    window: Window,
    *,
    mbit: float,
    rtt_s: float,
    size: int = 4 * KIB,
    loss: float = 0.0,
    until_s: float = 15.0,
) -> tuple[Sender, LongLink]:
    link = LongLink(rate_bytes_s=mbit * MBIT, rtt_s=rtt_s, loss=loss)
    sender = link.add(Sender(window, size=size))
    link.run(until_s)
    return sender, link


@pytest.mark.parametrize(
    ("mbit", "rtt_s"), [(2, 0.02), (10, 0.025), (10, 0.1), (10, 0.3), (100, 0.025), (100, 0.1)]
)
def test_the_line_is_filled_and_its_buffer_is_not(mbit: float, rtt_s: float) -> None:
    sender, link = alone(DelayWindow(), mbit=mbit, rtt_s=rtt_s, size=8 * KIB)
    assert sender.rate(5, 15) > 0.85 * link.rate_bytes_s
    own_queue_s = (16 * KIB + 4 * 8 * KIB) / link.rate_bytes_s
    assert sender.rtt_s(5, 15) < 1.35 * rtt_s + own_queue_s


def test_the_comparison_fills_every_buffer_that_it_finds() -> None:
    adaptive, _ = alone(DelayWindow(), mbit=100, rtt_s=0.025)
    greedy, _ = alone(AimdWindow(), mbit=100, rtt_s=0.025)
    assert adaptive.rate(5, 15) > 0.9 * greedy.rate(5, 15)
    assert greedy.rtt_s(5, 15) > 10 * adaptive.rtt_s(5, 15)


@pytest.mark.parametrize("loss", [0.001, 0.01, 0.03])
def test_losses_that_tcp_mends_cost_little(loss: float) -> None:
    sender, link = alone(DelayWindow(), mbit=10, rtt_s=0.05, loss=loss)
    assert sender.rate(5, 15) > 0.85 * link.rate_bytes_s


def test_senders_that_come_later_get_the_same_share() -> None:
    link = LongLink(rate_bytes_s=10 * MBIT, rtt_s=0.05)
    senders = [link.add(Sender(DelayWindow(), starts_s=5.0 * n)) for n in range(3)]
    link.run(80)
    shares = [sender.rate(50, 80) / link.rate_bytes_s for sender in senders]
    assert sum(shares) > 0.9
    assert min(shares) > 0.6 * max(shares)
    assert senders[0].rtt_s(50, 80) < 0.3, "no sender took another's queue for distance"


def test_a_longer_path_is_learned_within_seconds() -> None:
    link = LongLink(rate_bytes_s=10 * MBIT, rtt_s=0.025)
    sender = link.add(Sender(DelayWindow()))
    link.run(10)
    link.rtt_s = 0.1
    link.run(20)
    assert sender.rate(14, 20) > 0.8 * link.rate_bytes_s


def test_a_line_that_becomes_faster_or_slower_is_followed() -> None:
    link = LongLink(rate_bytes_s=5 * MBIT, rtt_s=0.05)
    sender = link.add(Sender(DelayWindow(), size=4 * KIB))
    link.run(10)
    link.rate_bytes_s *= 8
    link.run(20)
    assert sender.rate(14, 20) > 0.8 * link.rate_bytes_s
    link.rate_bytes_s /= 8
    link.run(30)
    assert sender.rate(25, 30) > 0.8 * link.rate_bytes_s
    assert sender.rtt_s(25, 30) < 0.15


def test_the_line_is_full_again_two_seconds_after_a_cut() -> None:
    link = LongLink(rate_bytes_s=10 * MBIT, rtt_s=0.05)
    sender = link.add(Sender(DelayWindow()))
    link.run(10)
    link.cut(5.0)
    link.run(25)
    assert sender.losses > 0, "what was under way was given up"
    assert sender.rate(11, 14.9) == 0
    assert sender.rate(17, 25) > 0.85 * link.rate_bytes_s


def test_one_that_fills_the_buffers_does_not_starve_one_that_does_not() -> None:
    link = LongLink(rate_bytes_s=10 * MBIT, rtt_s=0.05, buffer_s=0.2, loss_is_hidden=False)
    modest = link.add(Sender(DelayWindow()))
    link.add(Sender(AimdWindow(), starts_s=5, ends_s=40))
    link.run(40)
    assert modest.rate(15, 40) > 0.2 * link.rate_bytes_s


@pytest.mark.parametrize("make", [DelayWindow, AimdWindow])
def test_a_window_that_is_not_used_does_not_grow(
    make: type[DelayWindow] | type[AimdWindow],
) -> None:
    link = LongLink(rate_bytes_s=100 * MBIT, rtt_s=0.05)
    sender = link.add(Sender(make(), rate_bytes_s=100 * KIB))
    link.run(20)
    assert sender.window.limit <= WindowLimits().first_bytes
    assert sender.rate(5, 20) == pytest.approx(100 * KIB, rel=0.02)


@pytest.mark.parametrize("make", [DelayWindow, AimdWindow])
def test_after_a_pause_it_begins_small_again(make: type[DelayWindow] | type[AimdWindow]) -> None:
    limits = WindowLimits()
    window = make(limits)
    now_s = 0.0
    for _ in range(2000):
        window.sent(window.limit, now_s)
        now_s += 0.05
        window.acknowledged(window.in_flight, now_s, 0.05)
    assert window.limit > 4 * limits.first_bytes
    window.sent(1000, now_s + limits.idle_s + 1)
    assert window.limit == limits.first_bytes


def test_losses_of_one_round_trip_count_once_and_the_smallest_window_stays() -> None:
    for window in (DelayWindow(), AimdWindow()):
        window.sent(10_000, 0.0)
        window.acknowledged(1_000, 0.1, 0.1)
        before = window.limit
        for _ in range(9):
            window.lost(1_000, 0.11)
        assert before / 2 <= window.limit < before
        for second in range(1, 20):
            window.sent(1_000, float(second))
            window.lost(1_000, second + 0.5)
        assert window.limit == WindowLimits().smallest_bytes
        assert window.in_flight == 0


def test_an_answer_that_comes_far_too_late_counts_as_a_loss() -> None:
    for window in (DelayWindow(), AimdWindow()):
        window.sent(2_000, 0.0)
        window.acknowledged(1_000, 0.1, 0.1)
        before = window.limit
        window.acknowledged(1_000, 6.0, 6.0)
        assert window.limit < before


def test_bounds_must_make_sense() -> None:
    with pytest.raises(ValueError, match="smallest"):
        WindowLimits(smallest_bytes=10, first_bytes=5)
