"""Cron patterns in a time zone: the instants that they name, around changes of the clock too.

The fields are read by ``cronsim``: Debian's syntax, with ``L``, ``LW``, ``MON#2``, ``5L`` and optional seconds first.
When both the day of the month and the day of the week are restricted, a day that matches either will do, unless one of
the two begins with ``*``. The walk from instant to instant is our own, for changes of the clock by other than whole
hours and for starts in the middle of a change:

- A pattern whose hour, minute and second do not begin with ``*`` names times of the day, each of them once a day. One
  that the clock skips comes right after the gap (several of them are one), one that it shows twice comes the first time
  only.
- Any other pattern follows the clock: it comes whenever the clock shows what matches. What the clock skips does not
  come; what it shows twice comes twice.
"""

import calendar
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

__all__ = ["Cron", "cron_of"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.toordinal()
_DAY, _HOUR, _MINUTE = 86_400, 3600, 60  # seconds
#: A pattern that names no instant in so many days never does: 29 February falls on each weekday within 40 years.
SEARCHED_DAYS = 50 * 366
#: The parts of a pattern that follow the times of the day: day of the month, month, day of the week.
_DATE_PARTS = 3


class Cron:
    """A pattern in a time zone. Raises `ValueError` for what is no pattern, and `KeyError` for what is no zone.

    "Wall" seconds are what the clock of the zone shows, counted from 1970 as if it were UTC.
    """

    def __init__(self, pattern: str, zone: str) -> None:
        try:
            self._fields = CronSim(pattern, _EPOCH)
        except CronSimError as error:
            raise ValueError(str(error)) from None
        self._zone = ZoneInfo(zone)
        self._hours, self._minutes, self._seconds = (
            sorted(field) for field in (self._fields.hours, self._fields.minutes, self._fields.seconds)
        )
        self._follows_the_clock = any(part.startswith("*") for part in pattern.split()[:-_DATE_PARTS])

    def instants(self, start: int) -> Iterator[int]:
        """The instants at or after ``start``, in order; all in seconds since 1970."""
        newest = start - 1
        # A time of yesterday that the clock skipped may come today, at the first instant.
        day = (datetime.fromtimestamp(start, self._zone) - timedelta(days=1)).date()
        give_up = day + timedelta(days=SEARCHED_DAYS)
        while day < give_up:
            if day.month not in self._fields.months:
                day = day.replace(day=calendar.monthrange(day.year, day.month)[1])
            elif self._fields.match_day(day):
                for instant in self._instants_of(day, start):
                    if instant > newest:
                        newest, give_up = instant, day + timedelta(days=SEARCHED_DAYS)
                        yield instant
            day += timedelta(days=1)

    def _instants_of(self, day: date, start: int) -> Iterator[int]:
        """The instants that belong to a day and are at or after ``start``, in order."""
        low = (day.toordinal() - _EPOCH_DAY) * _DAY
        high = low + _DAY
        begin, end = self._instant(low), self._instant(high)
        old, new = self._offset(begin - 1), self._offset(end)
        if old == new:
            yield from self._walk(low, low, high, new, start)
            return
        change = self._change(begin - 1, end)
        yield from self._walk(low, low, min(high, change + old), old, start)
        if self._follows_the_clock:
            yield from self._walk(low, max(low, change + new), high, new, start)
            return
        skipped = self._walls(low, max(low, change + old), min(high, change + new))
        if change >= start and next(skipped, None) is not None:
            yield change
        yield from self._walk(low, max(low, change + old, change + new), high, new, start)

    def _walk(self, day: int, low: int, high: int, offset: int, start: int) -> Iterator[int]:
        """The instants of the matching walls from ``low`` to before ``high``, while the clock has this offset."""
        for wall in self._walls(day, max(low, start + offset), high):
            yield wall - offset

    def _walls(self, day: int, low: int, high: int) -> Iterator[int]:
        """The matching walls of the day that begins at the wall ``day``, from ``low`` to before ``high``."""
        for hour in self._hours:
            first = day + hour * _HOUR
            if first + _HOUR <= low:
                continue
            if first >= high:
                return
            for minute in self._minutes:
                if first + (minute + 1) * _MINUTE <= low:
                    continue
                for second in self._seconds:
                    wall = first + minute * _MINUTE + second
                    if low <= wall < high:
                        yield wall

    def _instant(self, wall: int) -> int:
        """When the clock shows this first; if it never does, when it would have without the change."""
        return int((_EPOCH + timedelta(seconds=wall)).replace(tzinfo=self._zone).timestamp())

    def _offset(self, instant: int) -> int:
        """What the clock shows, less UTC."""
        offset = datetime.fromtimestamp(instant, self._zone).utcoffset()
        return 0 if offset is None else int(offset.total_seconds())

    def _change(self, before: int, after: int) -> int:
        """The first instant with the new offset, which the clock has at ``after`` and not at ``before``."""
        new = self._offset(after)
        while after - before > 1:
            middle = (before + after) // 2
            if self._offset(middle) == new:
                after = middle
            else:
                before = middle
        return after


#: The same pattern is asked for again and again, by every firing of a schedule.
cron_of = lru_cache(maxsize=1024)(Cron)
