"""Every error that Tidemill raises on purpose, drawn once.

    TidemillError
    ├── SettingsError      a setting is unknown, of the wrong type or out of range
    ├── SourceError        a table cannot be found or read
    ├── SchemaError        a table does not have the columns or kinds that the schema names
    ├── QualityError       the data fail a check that makes training pointless or dishonest
    ├── SplitError         a split would be empty, or is used against its rules
    ├── PreparationError   a preparation cannot be fitted or does not fit its input
    ├── TrainingError      training cannot start, diverges or cannot be resumed
    ├── ExportError        the exported graph does not exist or does not agree with the model
    ├── BundleError        a bundle is incomplete, altered or of another format
    ├── RegistryError      a model, version or alias does not exist, or cannot be written
    ├── LedgerError        the record of answers and labels cannot be written or read
    ├── TrackingError      an experiment tracker cannot be used as it was asked for
    ├── ReplayError        a stretch of time cannot be replayed, or what takes part in it stands still
    └── RequestError       a request that is not answered (HTTP 4xx, 503, 504)

An error says three things: the rule that was broken, what was observed, and the remedy. Lists in it are made by
`listed`, since tables have thousands of columns.
"""

from collections.abc import Iterable

LISTED = 20
NAME = 100
TEXT = 4_000
"""Names of a list, characters of a name, and characters of a text that a person still reads."""


def listed(items: Iterable[object], most: int = LISTED, *, quoted: bool = False, joint: str = ", ") -> str:
    """Names for a message, "a, b, c and 4,997 more": the first `most` of them, each cut where it is long.

    >>> listed(["a", "b", "c", "d"], 2, quoted=True)
    "'a', 'b' and 2 more"
    """
    texts = list(items)
    shown = [_cut(repr(item) if quoted else str(item)) for item in texts[:most]]
    return joint.join(shown) + (f" and {len(texts) - most:,} more" if len(texts) > most else "")


def _cut(name: str) -> str:
    return name if len(name) <= NAME else f"{name[: NAME - 1]}…"


def bounded(text: str) -> str:
    """The beginning and the end of a text that is too long for a message, whatever made it so."""
    if len(text) <= TEXT:
        return text
    return f"{text[: TEXT * 3 // 4]} … ({len(text) - TEXT:,} characters left out) … {text[-TEXT // 4 :]}"


class TidemillError(Exception):
    """The root: a problem that the user can mend, as opposed to a fault of ours.

    Args:
        rule: what must hold, as a full sentence without the final stop.
        observed: what was found instead, with the name of the column, key or file; several findings are a list of
            lines, each with a line break before it.
        remedy: what to do about it.
    """

    def __init__(self, rule: str, *, observed: str, remedy: str) -> None:
        super().__init__(rule, observed, remedy)
        self.rule, self.observed, self.remedy = bounded(rule), bounded(observed), bounded(remedy)

    def __str__(self) -> str:
        got, remedy = ("Got:", "\nRemedy:") if self.observed.startswith("\n") else ("Got: ", " Remedy:")
        return f"{_ended(self.rule)} {got}{_ended(self.observed)}{remedy} {_ended(self.remedy)}"

    def on_console(self) -> str:
        """With its kind, and where to read about that; what a parent process reads is the last line of its child."""
        kind = type(self).__name__
        return f"{kind}: {self} See docs/errors.md#{kind.lower()}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.rule, self.observed, self.remedy, self.__dict__)


def _ended(text: str) -> str:
    """Other libraries' texts, questions, and what was cut short may end by themselves."""
    text = text.rstrip()
    return text if text.endswith(("?", "!", "...")) else f"{text.rstrip('.')}."


def _rebuild(
    kind: type[TidemillError], rule: str, observed: str, remedy: str, state: dict[str, object]
) -> TidemillError:
    """Keyword-only arguments do not survive pickling (Ray, spawned processes) by themselves."""
    error = kind(rule, observed=observed, remedy=remedy)
    error.__dict__.update(state)
    return error


class SettingsError(TidemillError):
    """A setting is unknown, of the wrong type or out of range."""


class SourceError(TidemillError):
    """A table cannot be found or read."""


class SchemaError(TidemillError):
    """A table does not have the columns or kinds that the schema names."""


class QualityError(TidemillError):
    """The data fail a check that makes training pointless or dishonest."""


class SplitError(TidemillError):
    """A split would be empty, or is used against its rules."""


class PreparationError(TidemillError):
    """A preparation cannot be fitted, or does not fit its input."""


class TrainingError(TidemillError):
    """Training cannot start, diverges or cannot be resumed."""


class ExportError(TidemillError):
    """The exported graph cannot be made or does not agree with the trained model."""


class BundleError(TidemillError):
    """A bundle is incomplete, altered or of another format."""


class RegistryError(TidemillError):
    """A model, version or alias does not exist, or cannot be written."""


class LedgerError(TidemillError):
    """The record of answers and labels cannot be written or read."""


class TrackingError(TidemillError):
    """An experiment tracker cannot be used as it was asked for."""


class ReplayError(TidemillError):
    """A stretch of time cannot be replayed, or what takes part in it stands still."""


class RequestError(TidemillError):
    """A request that is not answered.

    status: of HTTP, 4xx or 503, 504. reason: one word for counting, where the status does not say it. retry_after:
    seconds, where waiting helps.
    """

    status = 422
    reason: str | None = None
    retry_after: int | None = None
