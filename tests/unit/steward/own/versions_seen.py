"""A watch of one's own: which versions' answers it was shown."""

from dataclasses import dataclass
from typing import Any

from tidemill.steward.watch import Reading, Severity


@dataclass(kw_only=True, slots=True)
class Settings:
    canary: bool


class VersionsSeen:
    labelled = False

    def __init__(self, settings: Any) -> None:
        self.canary, self.state = settings.canary, {}

    def take(self, rows: Any) -> None:
        for version, count in rows["version"].value_counts().iter_rows():
            self.state[version] = self.state.get(version, 0) + count

    def close(self, begin: Any, end: Any) -> Any:
        seen, self.state = self.state, {}
        said = {"check": "seen", "subject": "", "severity": Severity.NEWS, "remedy": "", "log_threshold": 1.0}
        return [
            Reading(**said, says=version, effect=float(count), unit="rows", log_e=0.0)
            for version, count in seen.items()
        ]


def build(settings: Any, watched: Any) -> Any:
    return VersionsSeen(settings)
