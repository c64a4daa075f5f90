"""The `tidemill` command: what is done with models after training. Training is `python train.py`."""

import argparse
import os
import sys
from collections.abc import Sequence

from tidemill import __version__, extras, libraries
from tidemill.commands import drift, keys, predict, registry, replay, serve, steward
from tidemill.errors import TidemillError

SAFE_PATH = "PYTHONSAFEPATH"
"""Processes that a command starts look for modules where they are installed: a file in the current folder that has the
name of one would be run in its place."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 (it failed, with the reason on stderr), 2 (wrong usage) or a command's
    own, as `tidemill drift` has one."""
    parsed = _parser().parse_args(arguments)
    if arguments is None:  # a process of its own
        libraries.unheard()
        os.environ[SAFE_PATH] = "1"
    try:
        status: int | None = parsed.command(parsed)
    except TidemillError as error:
        sys.stderr.write(f"{error.on_console()}\n")
        return 1
    except ModuleNotFoundError as error:
        if (known := extras.missing(error)) is None:
            raise
        sys.stderr.write(f"{known}\n")
        return 1
    except BrokenPipeError:  # whoever read our output has stopped reading, like `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return status or 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tidemill", description=__doc__)
    parser.add_argument("--version", action="version", version=f"tidemill {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve.add(commands.add_parser("serve", help="answer requests over HTTP", description=serve.__doc__))
    registry.add(commands.add_parser("registry", help="look at models and say which one serves"))
    predict.add(commands.add_parser("predict", help="score files in bulk", description=predict.__doc__))
    drift.add(
        commands.add_parser("drift", help="compare two tables, or a table with a bundle", description=drift.run.__doc__)
    )
    steward.add(
        commands.add_parser("steward", help="watch a served model, and keep it right", description=steward._run.__doc__)
    )
    replay.add(commands.add_parser("replay", help="send a past year through the loop", description=replay.run.__doc__))
    keys.add(commands.add_parser("keys", help="API keys: who may ask a server for what"))
    return parser


if __name__ == "__main__":
    sys.exit(main())
