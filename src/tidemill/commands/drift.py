"""`tidemill drift`: compare two tables, or a table with what a bundle was trained on."""

import argparse
import json
from pathlib import Path

from tidemill.commands.output import say, table

DRIFTED = 3
"""Exit status where something has drifted, as `diff` has one; 0: nothing has, 1: it failed, 2: wrong usage."""


def add(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=run)
    parser.add_argument("reference", metavar="REFERENCE|BUNDLE", help="a table, or the folder of a bundle")
    parser.add_argument("file", metavar="FILE", help="the table to compare with it: CSV, Parquet, Arrow, JSON Lines")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a page, too")


def run(parsed: argparse.Namespace) -> int:
    """Say which columns are distributed otherwise, by how much, and which are missing, unseen or out of range. Exit
    status: 0 nothing has drifted, 3 something has, 1 it failed."""
    from tidemill.errors import SettingsError
    from tidemill.report import drift_page
    from tidemill.steward.drift import shift

    found = shift.compare(parsed.reference, parsed.file)
    if parsed.html is not None:
        try:
            parsed.html.write_text(drift_page.render(found), encoding="utf-8")
        except OSError as error:
            raise SettingsError(
                "--html names a file that can be written",
                observed=f"{parsed.html}: {error.strerror}",
                remedy="name one in a folder that is there",
            ) from error
    if parsed.json:
        say(json.dumps(shift.plain(found), ensure_ascii=False))
    else:
        say(f"{found.rows:,} rows of {found.file} beside {found.rows_before:,} rows of {found.reference}")
        say(drift_page.verdict(found) + "\n")
        say(table(drift_page.HEAD, [drift_page.line(one) for one in found.shifts]))
        say("\n" + "\n".join(drift_page.notes(found)))
    return DRIFTED if found.drifted else 0
