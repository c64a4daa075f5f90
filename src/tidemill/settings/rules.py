"""Rules that settings in several groups share."""

from tidemill.composition import Rule
from tidemill.moments import instant

Positive = Rule("greater than 0", lambda value: value > 0)
NotNegative = Rule("0 or greater", lambda value: value >= 0)
Days = Rule("at most 36500, which are a hundred years", lambda value: value <= 36_500)
Hours = Rule("at most 876000, which are a hundred years", lambda value: value <= 876_000)
Share = Rule("between 0 and 1, both excluded", lambda value: 0 < value < 1)
ShareOrEnd = Rule("between 0 and 1, both included", lambda value: 0 <= value <= 1)
ShareOrNone = Rule("0 or greater and below 1", lambda value: 0 <= value < 1)
AtLeastOne = Rule("1 or greater", lambda value: value >= 1)
PlainName = Rule(
    "letters, digits, '-', '_' and '.', not starting with '.'",
    lambda value: value.strip(".") != "" and value[0] != "." and all(c.isalnum() or c in "-_." for c in value),
)


def _is_instant(text: str) -> bool:
    try:
        instant(text)
    except ValueError:
        return False
    return True


Instant = Rule("an instant in ISO 8601, like 2013-06-01 or 2013-06-01T12:00:00Z", _is_instant)
