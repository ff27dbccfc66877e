"""When what readers have is late: the next time of the schedule and its grace, over weekends and clock changes."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from orchestration.freshness import fresh_until, freshness_of, longest_wait
from orchestration.resources.publication import Publication
from orchestration.settings import Settings, load_settings
from orchestration.sources import load_source

SOURCE = load_source("complete_journey")


def settings_of(tmp_path: Path, cron: str = "0 5 * * *", **more: Any) -> Settings:
    return load_settings(data=tmp_path, schedule_cron=cron, schedule_time_zone="Europe/Berlin", **more)


def published(at: datetime) -> Publication:
    return Publication("000001-2026-01-01", date(2026, 1, 1), "sample", at, "", ())


@pytest.mark.parametrize(
    "cron, at, until",
    [
        # Published at half past five in Berlin: the next is due at five the next day, and two hours of grace.
        ("0 5 * * *", datetime(2026, 1, 7, 4, 30, tzinfo=UTC), datetime(2026, 1, 8, 6, tzinfo=UTC)),
        ("0 5 * * *", datetime(2026, 1, 7, 4, 0, tzinfo=UTC), datetime(2026, 1, 8, 6, tzinfo=UTC)),
        # Over the change to summer time, on 29 March.
        ("0 5 * * *", datetime(2026, 3, 28, 5, tzinfo=UTC), datetime(2026, 3, 29, 5, tzinfo=UTC)),
        # On a Friday, where nothing runs at weekends.
        ("0 5 * * 1-5", datetime(2026, 1, 9, 5, tzinfo=UTC), datetime(2026, 1, 12, 6, tzinfo=UTC)),
    ],
)
def test_a_version_is_fresh_until_the_next_is_due(tmp_path: Path, cron: str, at: datetime, until: datetime) -> None:
    settings = settings_of(tmp_path, cron)
    assert fresh_until(at, settings, SOURCE) == until
    assert not freshness_of(published(at), settings, SOURCE, until).is_late
    late = freshness_of(published(at), settings, SOURCE, until + timedelta(seconds=1))
    assert late.is_late and "late: the next was due by" in str(late)


def test_the_grace_is_a_setting(tmp_path: Path) -> None:
    at = datetime(2026, 1, 7, 5, tzinfo=UTC)
    settings = settings_of(tmp_path, refresh_grace_minutes=30)
    assert fresh_until(at, settings, SOURCE) == datetime(2026, 1, 8, 4, 30, tzinfo=UTC)


def test_nothing_published_is_not_late(tmp_path: Path) -> None:
    freshness = freshness_of(None, settings_of(tmp_path), SOURCE, datetime(2026, 1, 7, tzinfo=UTC))
    assert not freshness.is_late and str(freshness) == "nothing has been published yet"


@pytest.mark.parametrize("cron, hours", [("0 5 * * *", 26), ("0 5 * * 1-5", 74), ("0 5 * * 1", 170)])
def test_the_longest_wait_of_a_schedule(tmp_path: Path, cron: str, hours: int) -> None:
    wait = longest_wait(settings_of(tmp_path, cron), SOURCE)
    assert wait.total_seconds() / 3600 in (hours, hours + 1)  # a change of clocks is in it or not


def test_what_a_clock_ahead_published_is_late_and_a_step_back_of_an_hour_is_nothing(tmp_path: Path) -> None:
    """Else nobody would be told for a year that no refresh came."""
    now, settings = datetime(2026, 1, 7, 5, tzinfo=UTC), settings_of(tmp_path)
    ahead = freshness_of(published(now + timedelta(days=365)), settings, SOURCE, now)
    assert ahead.is_late and ahead.is_ahead and ahead.age == timedelta()
    assert "published at 2027-01-07 05:00 UTC, which is yet to come" in str(ahead) and "make refresh" in str(ahead)
    stepped = freshness_of(published(now + timedelta(hours=1)), settings, SOURCE, now)
    assert not stepped.is_late and not stepped.is_ahead and "published 0 min ago" in str(stepped)
