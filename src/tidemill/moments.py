"""Instants: what a moment without an offset means (UTC), and whole microseconds since 1970-01-01 UTC."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def aware(moment: datetime) -> datetime:
    """The same moment, in UTC where it names no offset."""
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def instant(text: str) -> datetime:
    """ISO 8601.

    Raises:
        ValueError: it is not.
    """
    return aware(datetime.fromisoformat(text))


def microseconds(moment: datetime) -> int:
    """Since 1970."""
    return (moment - EPOCH) // _MICROSECOND


def from_microseconds(count: int) -> datetime:
    """In UTC.

    Raises:
        OverflowError: it lies outside of the years 1 to 9999.
    """
    return EPOCH + timedelta(microseconds=count)


def floor(moment: datetime, period: timedelta) -> datetime:
    """The beginning of the period that a moment lies in; periods are counted from the epoch."""
    return moment - (moment - EPOCH) % period
