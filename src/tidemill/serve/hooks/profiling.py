"""Live profiles: what a replica was asked and answered, hour by hour, counted over the bins of the version's reference.

Only counts are kept, so columns that the ledger masks or hashes are profiled too (without their smallest and largest
values). Rows are gathered and counted many at a time, on the observer's thread. Memory is bounded: by the hours that
are kept and by the bins. Profiles of replicas add up exactly; those of a replica that ended are gone. Counting takes a
small share of a core: where more is answered than that is enough for, whole blocks are skipped, and how many
rows they had is told.

    {"model": "flights", "replicas": ["r1"], "hours": [{"hour": "2013-06-01T14:00:00Z", "version": "3",
        "unreadable": 0, "skipped": 0, "inputs": {"rows": 7, …}, "answers": {"rows": 7, …}}, …]}  (profiles/profile.py)
"""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import polars as pl

from tidemill.bundle.answers import joined
from tidemill.bundle.manifest import Manifest
from tidemill.data.profiles.profile import Profile, answers_table, merge, profile_like
from tidemill.ledger.inputs import APART, Inputs
from tidemill.ledger.masking import masking_of
from tidemill.ledger.record import Answered, Form, Role
from tidemill.ledger.settings import LedgerSettings, Masking
from tidemill.serve.hooks.observer import Observer

_ROWS, _BYTES = 2_048, 4 * 2**20
"""Counted when so much has gathered."""
_SHARE, _CREDIT = 0.02, 0.1
"""Of a core's time; and seconds of it that may be saved up."""
_VERSIONS = 8
_HOUR = 3_600_000_000_000  # nanoseconds


@dataclass(frozen=True, slots=True)
class _Reference:
    """A version's bins, and what reads its requests. hidden: columns whose values the ledger does not show."""

    inputs: Profile
    answers: Profile
    classes: tuple[str, ...]
    read: Inputs
    hidden: frozenset[str]


@dataclass(slots=True)
class _Hour:
    inputs: Profile
    answers: Profile
    unreadable: int = 0


@dataclass(slots=True)
class _Waiting:
    """Answers of one hour, version and form that are to be counted."""

    requests: list[Answered] = field(default_factory=list)
    rows: int = 0
    bytes: int = 0


class Profiling(Observer):
    """Counts what one replica answers. Shadows are left out: their rows count for the champion.

    Args:
        hours: so many are kept, the newest.
        ledger: says which columns' values are not to be shown.
        share: of one core's time that counting may take.
    """

    def __init__(self, model: str, replica: str, hours: int, ledger: LedgerSettings, share: float = _SHARE) -> None:
        self._model, self._replica, self._kept, self._ledger = model, replica, hours, ledger
        self._lock = threading.Lock()
        self._references: dict[str, _Reference] = {}
        self._hours: dict[tuple[int, str], _Hour] = {}
        self._skipped: Counter[tuple[int, str]] = Counter()
        self._share, self._credit, self._looked = share, _CREDIT if share else 0.0, time.monotonic()
        self._waiting: dict[tuple[int, str, Form], _Waiting] = {}
        self.categories: Counter[str] = Counter()
        """By categorical column, values that were counted and not missing."""
        self.unseen: Counter[str] = Counter()
        """Those of them that the version's training split never had, where its profile can tell."""

    def add_version(self, manifest: Manifest, profile: Mapping[str, Any]) -> None:
        """Count answers of this version from now on. profile: the bundle's; one without bins is not counted over."""
        inputs = {column.name for column in manifest.schema.inputs}
        try:
            columns = {name: entry for name, entry in profile["inputs"]["columns"].items() if name in inputs}
            answers = {"columns": profile["answers"]["columns"]}
        except (KeyError, TypeError):
            return
        plain = replace(self._ledger, columns={}, sensitive=Masking.KEEP, ignored=Masking.KEEP)
        hidden = [c.name for c in manifest.schema.inputs if masking_of(c, self._ledger) is not Masking.KEEP]
        reference = _Reference(
            {"columns": columns},
            answers,
            tuple(manifest.identity.classes),
            Inputs(manifest.schema.to_dict(), plain, b""),
            frozenset(hidden),
        )
        with self._lock:
            self._references[str(manifest.identity.version)] = reference
            while len(self._references) > _VERSIONS:
                del self._references[next(iter(self._references))]

    def answered(self, event: Answered) -> None:
        if event.role is Role.SHADOW:
            return
        key = (event.at // _HOUR, event.version, event.form)
        with self._lock:
            if self._spent():
                self._skipped[key[:2]] += len(next(iter(event.answers.values()), ()))
                return
            waiting = self._waiting.setdefault(key, _Waiting())
            waiting.requests.append(event)
            waiting.rows += len(next(iter(event.answers.values()), ()))
            waiting.bytes += len(event.inputs)
            if waiting.rows >= _ROWS or waiting.bytes >= _BYTES:
                self._count(key, self._waiting.pop(key))
            elif len(self._waiting) > 2 * _VERSIONS:
                self._count_all()

    def _spent(self) -> bool:
        """Whether counting has taken more than its share so far."""
        now = time.monotonic()
        self._credit = min(self._credit + self._share * (now - self._looked), _CREDIT)
        self._looked = now
        return self._credit < 0

    def snapshot(self) -> bytes:
        """This replica's profiles as JSON."""
        with self._lock:
            self._count_all()
            hours = [
                {
                    "hour": _written(hour),
                    "version": version,
                    "unreadable": found.unreadable,
                    "skipped": self._skipped[hour, version],
                    "inputs": found.inputs,
                    "answers": found.answers,
                }
                for (hour, version), found in sorted(self._hours.items())
            ]
        return _ENCODE({"model": self._model, "replicas": [self._replica], "hours": hours})

    def _count_all(self) -> None:
        while self._waiting:
            self._count(*self._waiting.popitem())

    def _count(self, key: tuple[int, str, Form], waiting: _Waiting) -> None:
        hour, version, _ = key
        reference = self._references.get(version)
        if reference is None:
            return
        begun = time.thread_time()
        frames, unreadable = _read(reference.read, waiting.requests)
        inputs = profile_like(_columns(frames, reference), reference.inputs)
        for name in reference.hidden & inputs["columns"].keys():
            inputs["columns"][name] |= dict.fromkeys(("minimum", "maximum") & inputs["columns"][name].keys())
        given = joined([one.answers for one in waiting.requests])
        answers = profile_like(answers_table(given, reference.classes), reference.answers)
        self._count_unseen(inputs, reference.inputs)
        before = self._hours.get((hour, version))
        if before is not None:
            inputs, answers = merge([before.inputs, inputs]), merge([before.answers, answers])
            unreadable += before.unreadable
        self._hours[hour, version] = _Hour(inputs, answers, unreadable)
        newest = max(hour for hour, _ in self._hours)
        for old in [one for one in self._hours if one[0] <= newest - self._kept]:
            del self._hours[old]
            self._skipped.pop(old, None)
        self._credit -= time.thread_time() - begun

    def _count_unseen(self, counted: Profile, reference: Profile) -> None:
        for name, entry in counted["columns"].items():
            if "categories" not in entry:
                continue
            listed = not reference["columns"][name].get("other")  # all of training's categories are counted one by one
            new = entry.get("unseen", entry["other"] if listed else None)
            if new is not None:
                self.categories[name] += counted["rows"] - entry["missing"]
                self.unseen[name] += new


def merged(texts: Mapping[str, bytes]) -> bytes:
    """One document of several replicas'."""
    documents = [msgspec.json.decode(text) for _, text in sorted(texts.items())]
    hours: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for document in documents:
        for one in document["hours"]:
            hours.setdefault((one["hour"], one["version"]), []).append(one)
    together = [
        {
            **parts[0],
            **{name: sum(part[name] for part in parts) for name in ("unreadable", "skipped")},
            **{name: merge([part[name] for part in parts]) for name in ("inputs", "answers")},
        }
        for _, parts in sorted(hours.items())
    ]
    replicas = [name for document in documents for name in document["replicas"]]
    return _ENCODE({**documents[0], "replicas": replicas, "hours": together})


def _read(inputs: Inputs, requests: Sequence[Answered]) -> tuple[list[pl.DataFrame], int]:
    """The inputs of all requests that can be read, and how many rows cannot."""
    frame = inputs.read(requests)
    if frame is not None:
        return [frame], 0
    if len(requests) == 1:
        return [], len(next(iter(requests[0].answers.values()), ()))
    middle = len(requests) // 2
    (first, lost), (second, more) = (_read(inputs, part) for part in (requests[:middle], requests[middle:]))
    return [*first, *second], lost + more


def _columns(frames: Sequence[pl.DataFrame], reference: _Reference) -> pl.DataFrame:
    names = reference.inputs["columns"]
    found = []
    for frame in frames:
        series = {column.name.partition(APART)[0]: column for column in frame}
        found.append(pl.DataFrame([series[name].alias(name) for name in names]))
    return pl.concat(found) if found else pl.DataFrame(schema=[*names])


def _written(hour: int) -> str:
    return datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


_ENCODE = msgspec.json.Encoder().encode
