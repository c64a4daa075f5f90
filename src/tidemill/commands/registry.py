"""`tidemill registry`: look at models, and say which version serves."""

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidemill import secrets
from tidemill.commands.output import say, table
from tidemill.errors import listed

if TYPE_CHECKING:
    from tidemill.bundle.registry.registry import Registry


def add(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    listed = actions.add_parser("list", help="versions, the newest first, with their main metric and aliases")
    listed.add_argument("model", nargs="?", help="(default: all models)")
    history = actions.add_parser("history", help="which version became what, when, by whom and why")
    history.add_argument("model")
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
    looks = ((listed, _list), (history, _history), (shown, _show))
    changes = (
        (promoted, _promote),
        (rolled, _rollback),
        (rollout, _rollout),
        (loaded, _load),
        (unloaded, _unload),
    )
    for action, command in (*looks, (signed, _sign), *changes):
        action.set_defaults(command=command)
        action.add_argument("--registry", default="registry", help="a folder or an fsspec URL (default: %(default)s)")
    for action, _ in looks:
        action.add_argument("--json", action="store_true", help="for programs")
    for action, _ in changes:
        action.add_argument("--reason", default="by hand", help="kept in the history (default: %(default)s)")


def _list(parsed: argparse.Namespace) -> None:
    registry = _open(parsed)
    models = [parsed.model] if parsed.model else registry.models()
    found = [line for model in models for line in _lines(registry, model)]
    if parsed.json:
        say(_json([{name: value for name, value in line.items() if name != "does"} for line in found]))
    elif found:
        header = ("model", "version", "aliases", "made", "main metric on its test rows", "gate")
        say(table(header, [_line(line) for line in found]))
    elif parsed.model and (others := registry.models()):
        say(f"No model {parsed.model!r} in {parsed.registry}. There are {listed(others)}.")
    else:
        say(f"No models in {parsed.registry}. `python train.py` makes one.")


def _lines(registry: "Registry", model: str) -> list[dict[str, Any]]:
    """A model's versions, the newest first."""
    from tidemill.commands.versions import main_metric

    aliases, does = registry.aliases(model), _does(registry, model)
    lines = []
    for version in reversed(registry.versions(model)):
        described = registry.describe(model, version)
        names = [alias for alias, number in aliases.items() if number == version]
        gate = described.results.get("gate")
        lines.append(
            {
                "model": model,
                "version": version,
                "aliases": names,
                "does": {alias: does[alias] for alias in names if alias in does},
                "created": described.identity.created,
                "objective": str(described.identity.objective),
                "metric": main_metric(described),
                "gate_passed": gate["passed"] if gate else None,
            }
        )
    return lines


def _line(found: Mapping[str, Any]) -> Sequence[str]:
    from tidemill.commands.versions import moment
    from tidemill.report.numerals import metric_name, with_interval

    metric = found["metric"]
    return (
        found["model"],
        found["version"],
        ", ".join(alias + found["does"].get(alias, "") for alias in found["aliases"]),
        moment(found["created"]),
        f"{metric_name(metric.name)} {with_interval(metric)}" if metric else "–",
        {True: "passed", False: "refused", None: "–"}[found["gate_passed"]],
    )


def _history(parsed: argparse.Namespace) -> None:
    from tidemill.commands.versions import told

    registry = _open(parsed)
    if not registry.versions(parsed.model):
        registry.resolve(parsed.model, "champion")  # says what there is
    found = _entries(registry, parsed.model)
    if parsed.json:
        say(_json(found))
    else:
        say("\n".join(map(told, found)) or f"Nothing has happened to {parsed.model} yet.")


def _entries(registry: "Registry", model: str, version: str | None = None) -> list[dict[str, Any]]:
    """The history of a model, or of one of its versions, oldest first."""
    from tidemill.commands.versions import entry

    there, gates = set(registry.versions(model)), dict[str, Mapping[str, Any]]()
    found = []
    for change in registry.history(model):
        if version is not None and change.version != version:
            continue
        if change.version in there and change.version not in gates:
            gates[change.version] = registry.describe(model, change.version).results.get("gate") or {}
        found.append(entry(change, gates.get(change.version, {})))
    return found


def _show(parsed: argparse.Namespace) -> None:
    from tidemill.bundle.manifest import plain
    from tidemill.commands.versions import page

    registry = _open(parsed)
    version = registry.resolve(parsed.model, parsed.version)
    described, entries = registry.describe(parsed.model, version), _entries(registry, parsed.model, version)
    if parsed.json:
        say(_json({**plain(described), "history": entries}))
        return
    does = _does(registry, parsed.model)
    aliases = [
        alias + does.get(alias, "") for alias, number in registry.aliases(parsed.model).items() if number == version
    ]
    place = secrets.mask(f"{parsed.registry.rstrip('/')}/{parsed.model}/{version}/report.html")
    say(page(described, aliases, entries, place))
    at = "" if parsed.registry == "registry" else f" --registry {secrets.mask(parsed.registry)}"
    say(f"\nEverything that is kept of it: tidemill registry show {parsed.model} {version}{at} --json")


def _json(value: object) -> str:
    import json

    from tidemill.bundle.manifest import plain

    return json.dumps(plain(value), indent=2, ensure_ascii=False)


def _promote(parsed: argparse.Namespace) -> None:
    from tidemill.bundle.registry.registry import Alias

    version = _open(parsed).promote(parsed.model, parsed.version, Alias(parsed.to), by=_user(), reason=parsed.reason)
    say(f"{parsed.model}: {parsed.to} is version {version}")


def _rollback(parsed: argparse.Namespace) -> None:
    version = _open(parsed).rollback(parsed.model, by=_user(), reason=parsed.reason)
    say(f"{parsed.model}: champion is version {version} again")


def _sign(parsed: argparse.Namespace) -> None:
    version = _open(parsed).sign(parsed.model, parsed.version, parsed.private_key)
    say(f"{parsed.model}: version {version} is signed")


def _rollout(parsed: argparse.Namespace) -> None:
    from tidemill.bundle.registry.rollout import Mode

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


def _open(parsed: argparse.Namespace) -> "Registry":
    from tidemill.bundle.registry.registry import Registry

    return Registry(parsed.registry)


def _user() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container's user without a name
        return str(os.getuid())
