"""When a schedule is due."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from bus.events.schedules.when import When
from schemas.errors import ConfigurationError

NOW = round(datetime(2026, 11, 22, 12, 0, 0, tzinfo=UTC).timestamp() * 1000)


def test_single_event_is_due_at_its_time() -> None:
    assert When(at_ms=NOW + 5000).first_ms(NOW) == NOW + 5000
    assert not When(at_ms=NOW + 5000).is_periodic


def test_period_begins_one_period_from_now_or_at_the_time_given() -> None:
    assert When(every_s=60).first_ms(NOW) == NOW + 60_000
    assert When(every_s=60, at_ms=NOW + 7).first_ms(NOW) == NOW + 7


def test_what_was_missed_is_left_out_and_the_rhythm_is_kept() -> None:
    when = When(every_s=60)
    assert when.next_ms(NOW, NOW + 10) == NOW + 60_000
    assert when.next_ms(NOW, NOW + 10 * 60_000 + 10) == NOW + 11 * 60_000


def test_cron_follows_its_time_zone_through_a_change_of_daylight_saving() -> None:
    zone = ZoneInfo("Europe/Berlin")
    when = When(cron="0 6 * * *", time_zone="Europe/Berlin")
    before = round(datetime(2026, 3, 27, 12, tzinfo=zone).timestamp() * 1000)
    due = [when.first_ms(before)]
    for _ in range(2):
        due.append(when.next_ms(due[-1], due[-1]))
    assert [datetime.fromtimestamp(at / 1000, zone).hour for at in due] == [6, 6, 6]
    assert (due[2] - due[1], due[1] - due[0]) == (86_400_000, 23 * 3_600_000)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"cron": "61 * * * *"}, "cron"),
        ({"cron": "0 6 * * *", "time_zone": "Mars/Olympus"}, "time_zone"),
        ({"cron": "0 6 * * *", "every_s": 5.0}, "exclude"),
        ({"every_s": 0.2}, "every_s"),
        ({"at_ms": -1}, "at_ms"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(wrong: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        When(**wrong)  # type: ignore[arg-type]
