"""The output folder: which run it belongs to, which parts are done, and that each is there whole or not at all.

_run.json                       the run: model, version, files, chunking; a resumed run must be the same
part-00000-00003.parquet        answers: file 0, chunk 3
_quarantine/part-….parquet      rows that the schema could not read, with the reason
_SUCCESS                        a summary in JSON, written when all is done
"""

import fcntl
import json
import re
from pathlib import Path
from typing import IO, Any

import polars as pl

from tidemill.bulk.scoring import Scored
from tidemill.durable import replacing
from tidemill.errors import SettingsError, listed

RUN, SUCCESS, QUARANTINE = "_run.json", "_SUCCESS", "_quarantine"
_LOCK, _STAGED = ".lock", ".staged-"
_PART = re.compile(r"part-(\d{5,})-(\d{5,})\.parquet")


class Folder:
    """
    Args:
        path: made if it is not there; must be empty, or belong to the same run.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def claim(self, run: dict[str, Any]) -> IO[str]:
        """Make the folder this run's; it is so as long as the file that is returned is open, or this process lives.

        Raises:
            SettingsError: the folder is no run's, another run's, or one is at work in it.
        """
        if not self.path.is_dir() and self.path.exists():
            raise _unusable(f"{self.path} is a file")
        if self.path.is_dir() and not (self.path / RUN).exists():
            strange = [entry.name for entry in self.path.iterdir() if not entry.name.startswith((_LOCK, _STAGED))]
            if strange:
                raise _unusable(f"{self.path} holds {listed(sorted(strange))}, but no {RUN}")
        try:
            (self.path / QUARANTINE).mkdir(parents=True, exist_ok=True)
            lock = (self.path / _LOCK).open("w")
        except OSError as error:
            raise _unusable(f"{self.path}: {error}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise _unusable(f"another process is at work in {self.path}") from error
        try:
            self._same(run)
        except BaseException:
            lock.close()
            raise
        for staged in (*self.path.glob(f"{_STAGED}*"), *(self.path / QUARANTINE).glob(f"{_STAGED}*")):
            staged.unlink(missing_ok=True)
        return lock

    def done(self) -> set[tuple[int, int]]:
        """(file, chunk) of every finished part."""
        found = (_PART.fullmatch(entry.name) for entry in self.path.iterdir())
        return {(int(match[1]), int(match[2])) for match in found if match}

    def write(self, file: int, chunk: int, scored: Scored) -> None:
        """What makes a part finished, its answers, comes last."""
        name = f"part-{file:05}-{chunk:05}.parquet"
        if scored.quarantined.height:
            with replacing(self.path / QUARANTINE / name, _STAGED) as staged:
                scored.quarantined.write_parquet(staged)
        with replacing(self.path / name, _STAGED) as staged:
            scored.answers.write_parquet(staged)

    def rows(self) -> tuple[int, int]:
        """Rows answered and quarantined in all parts."""
        return _rows(self.path), _rows(self.path / QUARANTINE)

    def finish(self, summary: dict[str, Any]) -> None:
        _write(self.path / SUCCESS, summary)

    def summary(self) -> dict[str, Any] | None:
        """What `finish` wrote; None while parts are missing."""
        if not (self.path / SUCCESS).exists():
            return None
        summary: dict[str, Any] = json.loads((self.path / SUCCESS).read_text(encoding="utf-8"))
        return summary

    def _same(self, run: dict[str, Any]) -> None:
        if not (self.path / RUN).exists():
            _write(self.path / RUN, run)
            return
        try:
            begun = dict(json.loads((self.path / RUN).read_text(encoding="utf-8")))
        except ValueError as error:
            raise _unusable(f"{self.path / RUN} is no JSON ({error})") from error
        if begun != run:
            raise SettingsError(
                "A bulk run is resumed with the model, files and settings it was begun with",
                observed=f"{self.path}: {_difference(begun, run)}",
                remedy="repeat the command that began it (--alias takes the version's number), "
                "or choose another --output",
            )


def _difference(begun: dict[str, Any], now: dict[str, Any]) -> str:
    key = next(name for name in {**now, **begun} if begun.get(name) != now.get(name))
    was, is_ = begun.get(key), now.get(key)
    if key == "inputs" and isinstance(was, list) and isinstance(is_, list) and len(was) == len(is_):
        was, is_ = next((old, new) for old, new in zip(was, is_, strict=True) if old != new)
        return f"the input {was} is now {is_}"
    if key == "inputs":
        return f"there were {len(was or [])} input files, now there are {len(is_ or [])}"
    return f"{key} was {was!r}, now it is {is_!r}"


def _unusable(observed: str) -> SettingsError:
    return SettingsError(
        "--output is a new folder, an empty one, or that of the run to resume",
        observed=observed,
        remedy="choose another folder",
    )


def _write(target: Path, content: dict[str, Any]) -> None:
    with replacing(target, _STAGED) as staged:
        staged.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")


def _rows(folder: Path) -> int:
    return sum(
        int(pl.scan_parquet(path).select(pl.len()).collect().item()) for path in sorted(folder.glob("part-*.parquet"))
    )
