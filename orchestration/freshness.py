"""How old what readers have may get: a version is fresh until the next refresh is due, and some grace."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from dagster._utils.schedules import cron_string_iterator

from orchestration.resources.publication import CLOCK_TOLERANCE, Publication, PublicationError, PublicationStore
from orchestration.settings import Settings
from orchestration.sources import Source

# Any stretch of ticks shows the longest wait of a cron; a fixed one, so that definitions do not depend on the clock.
LOOKED_AT_FROM, LOOKED_AT_TICKS = datetime(2024, 1, 1, tzinfo=UTC), 60


@dataclass(frozen=True)
class Freshness:
    """What readers have, beside when it should have been followed.

    Attributes:
        publication: The current version; None where nothing was published.
        age: Since it was published, at least 0.
        fresh_until: By when the next one is due; None where nothing was published.
        is_late: Whether that moment has passed, or cannot be told.
        is_ahead: Whether it was published later than now: a clock is or was wrong, so its age says nothing.
    """

    publication: Publication | None
    age: timedelta | None
    fresh_until: datetime | None
    is_late: bool
    is_ahead: bool = False

    def __str__(self) -> str:
        if self.publication is None or self.age is None or self.fresh_until is None:
            return "nothing has been published yet"
        version = f"version {self.publication.version}, as of {self.publication.as_of_date}, published"
        if self.is_ahead:
            return (
                f"{version} at {self.publication.published_at:%Y-%m-%d %H:%M} UTC, which is yet to come: a clock is or"
                " was wrong. Set it, then run make refresh"
            )
        late = f", late: the next was due by {self.fresh_until:%Y-%m-%d %H:%M} UTC" if self.is_late else ""
        return f"{version} {in_words(self.age)} ago{late}"


def in_words(age: timedelta) -> str:
    """A span of time as people say it: minutes, hours or days."""
    hours = age.total_seconds() / 3600
    if hours < 1:
        return f"{hours * 60:.0f} min"
    return f"{hours:.0f} h" if hours < 48 else f"{hours / 24:.0f} days"


def time_zone_of(settings: Settings, source: Source) -> str:
    """The zone that the schedule's cron is told in."""
    return settings.schedule_time_zone or source.time_zone


def fresh_until(at: datetime, settings: Settings, source: Source) -> datetime:
    """By when something newer than a version of this instant (aware) has to be there: the next tick, and the grace."""
    ticks = cron_string_iterator(at.timestamp(), settings.schedule_cron, time_zone_of(settings, source))
    following = next(tick for tick in ticks if tick > at)
    return following.astimezone(UTC) + timedelta(minutes=settings.refresh_grace_minutes)


def longest_wait(settings: Settings, source: Source) -> timedelta:
    """The longest time from one tick to the next, such as a weekend on which nothing runs, and the grace."""
    ticks = cron_string_iterator(LOOKED_AT_FROM.timestamp(), settings.schedule_cron, time_zone_of(settings, source))
    coming = [next(ticks).astimezone(UTC) for _ in range(LOOKED_AT_TICKS)]
    longest = max(later - earlier for earlier, later in pairwise(coming))
    return longest + timedelta(minutes=settings.refresh_grace_minutes)


def freshness_of(publication: Publication | None, settings: Settings, source: Source, now: datetime) -> Freshness:
    """How fresh a version is at an instant (aware)."""
    if publication is None:
        return Freshness(None, None, None, False)
    until = fresh_until(publication.published_at, settings, source)
    age = now - publication.published_at
    is_ahead = -age > CLOCK_TOLERANCE
    return Freshness(publication, max(age, timedelta()), until, now > until or is_ahead, is_ahead)


def current_freshness(settings: Settings, source: Source, now: datetime | None = None) -> Freshness:
    """How fresh what readers have is at an instant (aware); now by default.

    Raises:
        PublicationError: The description of the current version is damaged.
    """
    store = PublicationStore(settings.published_dir, settings.keep_versions)
    return freshness_of(store.current(), settings, source, now or datetime.now(UTC))


def readers_have(settings: Settings, source: Source) -> str:
    """What readers go on with, in a sentence."""
    try:
        freshness = current_freshness(settings, source)
    except PublicationError as error:
        return f"What readers have cannot be told: {error}"
    return "Readers have nothing yet." if freshness.publication is None else f"Readers have {freshness}."
