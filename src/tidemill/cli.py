"""The `tidemill` command: what is done with models after training. Training is `python train.py`."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tidemill import __version__
from tidemill.commands import drift, keys, predict, replay, serve, steward
from tidemill.commands.output import say, table
from tidemill.errors import TidemillError

if TYPE_CHECKING:
    from tidemill.bundle.registry import Change, Registry


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit status is 0, 1 (it failed, with the reason on stderr), 2 (wrong usage) or a command's
    own, as `tidemill drift` has one."""
    parsed = _parser().parse_args(arguments)
    try:
        status: int | None = parsed.command(parsed)
    except TidemillError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
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
    registry = commands.add_parser("registry", help="look at models and say which one serves")
    actions = registry.add_subparsers(required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="all models, or one model's versions")
    listed.add_argument("model", nargs="?")
    shown = actions.add_parser("show", help="what one version is and how good it is")
    shown.add_argument("model")
    shown.add_argument("version", nargs="?", default="champion", help="number or alias (default: %(default)s)")
    promoted = actions.add_parser("promote", help="let an alias stand for a version")
    promoted.add_argument("model")
    promoted.add_argument("version", help="number or alias")
    promoted.add_argument("--to", choices=["candidate", "challenger", "champion"], default="champion")
    rolled = actions.add_parser("rollback", help="make the previous champion champion again")
    rolled.add_argument("model")
    signed = actions.add_parser("sign", help="put a signature into a version; `serve … public_key=PEM` asks for it")
    signed.add_argument("model")
    signed.add_argument("version", nargs="?", default="champion", help="number or alias (default: %(default)s)")
    signed.add_argument(
        "--private-key", type=Path, required=True, metavar="PEM", help="an elliptic curve key, by openssl"
    )
    rollout = actions.add_parser("rollout", help="say what the challenger does beside the champion")
    rollout.add_argument("model")
    rollout.add_argument(
        "--mode", required=True, choices=["off", "shadow", "canary"], help="shadow: it answers for the record only"
    )
    rollout.add_argument("--share", type=float, help="of the requests that a canary answers, like 0.1")
    loaded = actions.add_parser("load", help="let the champion answer again after `unload`")
    loaded.add_argument("model")
    unloaded = actions.add_parser("unload", help="let servers refuse all requests for a model, until `load`")
    unloaded.add_argument("model")
    changes = (
        (promoted, _promote),
        (rolled, _rollback),
        (rollout, _rollout),
        (loaded, _load),
        (unloaded, _unload),
    )
    for action, command in ((listed, _list), (shown, _show), (signed, _sign), *changes):
        action.set_defaults(command=command)
        _add_registry(action)
    for action, _ in changes:
        action.add_argument("--reason", default="by hand", help="kept in the history (default: %(default)s)")

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


def _add_registry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--registry", default="registry", help="a folder or an fsspec URL (default: %(default)s)")


def _list(parsed: argparse.Namespace) -> None:
    registry = _open(parsed)
    header = ("model", "version", "aliases", "created", "objective", "code")
    lines = []
    for model in [parsed.model] if parsed.model else registry.models():
        aliases, does = registry.aliases(model), _does(registry, model)
        for version in registry.versions(model):
            identity, code = registry.describe(model, version).identity, registry.describe(model, version).code
            names = ", ".join(alias + does.get(alias, "") for alias, number in aliases.items() if number == version)
            lines.append((model, version, names, identity.created, str(identity.objective), code.tidemill))
    if lines:
        say(table(header, lines))
    elif parsed.model and (others := registry.models()):
        say(f"No model {parsed.model!r} in {parsed.registry}. There are {', '.join(others)}.")
    else:
        say(f"No models in {parsed.registry}. `python train.py` makes one.")


def _show(parsed: argparse.Namespace) -> None:
    import json

    from tidemill.bundle.manifest import plain

    registry = _open(parsed)
    version = registry.resolve(parsed.model, parsed.version)
    say(json.dumps(plain(registry.describe(parsed.model, version)), indent=2, ensure_ascii=False))
    history = [
        (change.at, _action(change), change.alias, change.version, change.by, change.reason)
        for change in registry.history(parsed.model)
    ]
    say("\n" + table(("at", "action", "alias", "version", "by", "reason"), history))


def _promote(parsed: argparse.Namespace) -> None:
    from tidemill.bundle.registry import Alias

    version = _open(parsed).promote(parsed.model, parsed.version, Alias(parsed.to), by=_user(), reason=parsed.reason)
    say(f"{parsed.model}: {parsed.to} is version {version}")


def _rollback(parsed: argparse.Namespace) -> None:
    version = _open(parsed).rollback(parsed.model, by=_user(), reason=parsed.reason)
    say(f"{parsed.model}: champion is version {version} again")


def _sign(parsed: argparse.Namespace) -> None:
    version = _open(parsed).sign(parsed.model, parsed.version, parsed.private_key)
    say(f"{parsed.model}: version {version} is signed")


def _rollout(parsed: argparse.Namespace) -> None:
    from tidemill.bundle.rollout import Mode

    registry = _open(parsed)
    mode, by, reason = Mode(parsed.mode), _user(), parsed.reason
    state = registry.set_rollout(parsed.model, mode, parsed.share, by=by, reason=reason)
    does = _does(registry, parsed.model).get("challenger", ": does nothing")
    say(f"{parsed.model}: challenger {state.challenger or 'none'}{does}")


def _load(parsed: argparse.Namespace) -> None:
    state = _open(parsed).set_serving(parsed.model, True, by=_user(), reason=parsed.reason)
    say(f"{parsed.model}: version {state.champion} answers requests")


def _unload(parsed: argparse.Namespace) -> None:
    state = _open(parsed).set_serving(parsed.model, False, by=_user(), reason=parsed.reason)
    say(f"{parsed.model}: version {state.champion} answers no request until `tidemill registry load {parsed.model}`")


def _does(registry: "Registry", model: str) -> dict[str, str]:
    """What to say after an alias: the challenger's rollout, and that a champion is not served."""
    state = registry.desired(model)
    share = f" {state.share:g}" if state.share else ""
    return {
        **({"challenger": f": {state.mode}{share}"} if state.mode != "off" else {}),
        **({} if state.serving else {"champion": ": unloaded"}),
    }


def _action(change: "Change") -> str:
    details = (change.action, change.mode, None if change.share is None else f"{change.share:g}")
    return " ".join(text for text in details if text)


def _open(parsed: argparse.Namespace) -> "Registry":
    from tidemill.bundle.registry import Registry

    return Registry(parsed.registry)


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return str(os.getuid())


if __name__ == "__main__":
    sys.exit(main())
