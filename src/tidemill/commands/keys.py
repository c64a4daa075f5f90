"""`tidemill keys`: make, list and revoke API keys."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from tidemill.commands.arguments import above_0, moment
from tidemill.commands.output import say, table

_SCOPES = ("predict", "feedback", "feedback-all", "metrics", "admin")


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    created = actions.add_parser("create", help="make a key; its text is printed once and kept nowhere")
    created.add_argument("--name", required=True, help="the client who uses it: labels hold for its own answers")
    created.add_argument("--scopes", type=_scopes, default="predict,feedback", help=f"some of {','.join(_SCOPES)}")
    created.add_argument("--rate", type=above_0, help="requests a second, in each replica (default: any)")
    created.add_argument("--burst", type=int, help="requests at once after a rest (default: a second's)")
    created.add_argument("--expires", type=moment, metavar="DATE", help="in UTC, like 2027-01-01 (default: never)")
    listed = actions.add_parser("list", help="all keys, without what could be presented")
    revoked = actions.add_parser("revoke", help="take a key out; servers notice within about a second")
    revoked.add_argument("id", help="as `list` shows it: the part between tm_ and the second _")
    for action, command in ((created, _create), (listed, _list), (revoked, _revoke)):
        action.set_defaults(command=command)
        action.add_argument("--file", type=Path, required=True, help="the file of hashed keys that servers read")


def _create(parsed: argparse.Namespace) -> None:
    from tidemill.serve.door import key_file

    key, text = key_file.create(
        parsed.file,
        parsed.name,
        [key_file.Scope(scope) for scope in parsed.scopes],
        rate=parsed.rate,
        burst=parsed.burst,
        expires=parsed.expires,
    )
    say(text)
    sys.stderr.write(f"This is the key {key.id} for {key.name!r}. It is not shown again: keep it now.\n")


def _list(parsed: argparse.Namespace) -> None:
    from tidemill.serve.door import key_file

    keys = key_file.read(parsed.file)
    if not keys:
        say(f"No keys in {parsed.file}.")
        return
    lines = [
        (
            key.id,
            key.name,
            ",".join(key.scopes),
            "any" if key.rate is None else f"{key.rate:g}/s",
            key.created.date().isoformat(),
            _expiry(key.expires),
        )
        for key in keys
    ]
    say(table(("id", "name", "scopes", "rate", "created", "expires"), lines))


def _revoke(parsed: argparse.Namespace) -> None:
    from tidemill.serve.door import key_file

    key = key_file.revoke(parsed.file, parsed.id)
    say(f"The key {key.id} of {key.name!r} is no longer valid")


def _expiry(end: datetime | None) -> str:
    if end is None:
        return "never"
    text = end.astimezone(UTC).isoformat(timespec="minutes").removesuffix("+00:00").removesuffix("T00:00")
    return text if end > datetime.now(UTC) else f"{text} (expired)"


def _scopes(text: str) -> list[str]:
    scopes = [scope.strip() for scope in text.split(",")]
    for scope in scopes:
        if scope not in _SCOPES:
            raise argparse.ArgumentTypeError(f"{scope!r} is not one of {', '.join(_SCOPES)}")
    return scopes
