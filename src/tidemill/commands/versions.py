"""Versions and their history as `tidemill registry` shows them: pages for people, plain values for programs."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC
from typing import TYPE_CHECKING, Any

from tidemill.commands.output import table
from tidemill.data.schema import Role
from tidemill.evaluation.results import MAIN, Baseline, Comparison, Metric, Standing
from tidemill.moments import instant
from tidemill.report.numerals import metric_name, metric_rows, with_interval
from tidemill.report.standing import sentence

if TYPE_CHECKING:
    from tidemill.bundle.manifest import Manifest
    from tidemill.bundle.registry.rollout import Change

_DECIDED = re.compile(r"(?P<who>.+), decision (?P<number>\d+)")
"""How `steward.acting.signature` signs a change."""
_TRAINED = "train.py"
_COLUMNS = 40
_SHOWN = 20
"""Columns and slices on a version's page; the report and `--json` have all."""


def main_metric(described: "Manifest") -> Metric | None:
    """The objective's main metric on the test rows; None where the bundle has none, or other tools made it."""
    return next((m for m in _metrics(described) if m.name == MAIN.get(described.identity.objective)), None)


def entry(change: "Change", gate: Mapping[str, Any]) -> dict[str, Any]:
    """One change with what led to it, typed.

    source: "training" (and its gate), "decision" (the steward's, with its number), "person". reasons: sentences.

    Args:
        gate: what the gate said of the change's version; empty where nothing is kept of that.
    """
    decided, trained = _DECIDED.fullmatch(change.by), change.by == _TRAINED
    reasons = [change.reason]
    if trained and gate and change.alias == "champion":
        reasons = [*gate["reasons"]]
    elif trained and gate and not gate["passed"]:
        reasons = [f"{change.reason}; the gate refused to make it champion:", *gate["reasons"]]
    return {
        **change.to_dict(),
        "source": "training" if trained else "decision" if decided else "person",
        "by": decided["who"] if decided else change.by,
        "decision": int(decided["number"]) if decided else None,
        "reasons": reasons,
    }


def told(found: Mapping[str, Any]) -> str:
    """A change as a paragraph: when, what, who, and below it why."""
    who = {
        "training": "by a training run",
        "decision": f"by decision {found['decision']} of {found['by']}",
        "person": f"by {found['by']}",
    }[found["source"]]
    return "\n".join([f"{moment(found['at'])}  {_event(found)}, {who}", *(f"    {text}" for text in found["reasons"])])


def moment(text: str) -> str:
    """ISO 8601 as a person reads it; what is none stays."""
    try:
        return f"{instant(text).astimezone(UTC):%Y-%m-%d %H:%M} UTC"
    except ValueError:
        return text


def _event(found: Mapping[str, Any]) -> str:
    version, alias = f"version {found['version']}", found["alias"]
    share = f" {found['share']:.0%} of the requests" if found.get("share") else ""
    return {
        "promote": f"{version} became {alias}",
        "rollback": f"{version} became {alias} again (rollback)",
        "rollout": {
            "off": f"challenger {version} was switched off",
            "shadow": f"challenger {version} answers for the record only (shadow)",
            "canary": f"challenger {version} answers{share} (canary)",
        }.get(str(found.get("mode")), f"challenger {version}: {found.get('mode')}"),
        "load": f"{version} answers requests again (load)",
        "unload": f"{version} answers no requests (unload)",
    }.get(found["action"], f"{found['action']} {version} {alias}")


def page(described: "Manifest", aliases: Sequence[str], history: Sequence[Mapping[str, Any]], place: str) -> str:
    """A version for people, on about one screen.

    Args:
        history: `entry`s of this version. place: of its report.
    """
    identity, code, results = described.identity, described.code, described.results
    name = f"{identity.model} version {identity.version}" + (f" ({', '.join(aliases)})" if aliases else "")
    commit = f", commit {code.commit[:10]}{'+' if code.commit.endswith('+') else ''}" if code.commit else ""
    parts = [
        f"{name}\nMade {moment(identity.created)} by Tidemill {code.tidemill}{commit}. Report: {place}",
        _about(described),
        "\n".join(_tested(described)),
    ]
    if stands := [sentence(baseline) for baseline in _baselines(described)]:
        parts.append("\n".join(["Against the baselines", *(f"  {text}" for text in stands)]))
    if gate := results.get("gate"):
        verdict = "passed" if gate["passed"] else "refused"
        parts.append("\n".join([f"Gate: {verdict}", *(f"  {reason}" for reason in gate["reasons"])]))
    parts.append("\n".join(_columns(described)))
    if history:
        parts.append("\n".join(["History", *("  " + told(found).replace("\n", "\n  ") for found in history)]))
    return "\n\n".join(parts)


def _about(described: "Manifest") -> str:
    identity, data = described.identity, described.data
    target = next((column.name for column in described.schema.with_role(Role.TARGET)), "the target")
    what = {
        "binary": f"whether {target} is {identity.classes[-1]!r}" if identity.classes else target,
        "multiclass": f"which of {len(identity.classes)} classes {target} is",
    }.get(str(identity.objective), f"the value of {target}")
    lines = [f"Predicts {what}, from {len(described.interface.inputs)} columns."]
    rows, split = data.get("rows"), data.get("split")
    if isinstance(rows, Mapping) and isinstance(split, Mapping):
        counts = ", ".join(f"{name} {count:,}" for name, count in rows.items())
        lines.append(f"Rows: {counts} (split: {split.get('method')}). Source: {data.get('source')}")
    return "\n".join(lines)


def _tested(described: "Manifest") -> Iterator[str]:
    metrics = _metrics(described)
    if not metrics:
        yield "It holds no figures."
        return
    level = described.settings.get("evaluation", {}).get("level", 0.95)
    rows = described.results["test"].get("rows")
    yield f"On {rows:,} test rows" if rows else "On the test rows"
    yield from (f"  {line}" for line in table(*metric_rows(metrics, level)).splitlines())
    slices = described.results["test"].get("slices") or []
    for part in slices[:_SHOWN]:
        found = next((Metric(**m) for m in part["metrics"] if m["name"] == MAIN[described.identity.objective]), None)
        figure = f"{metric_name(found.name)} {with_interval(found)}" if found else "too few rows for figures"
        yield f"  where {part['column']} = {part['value']} ({part['rows']:,} rows): {figure}"
    if len(slices) > _SHOWN:
        yield f"  and {len(slices) - _SHOWN:,} more slices"


def _columns(described: "Manifest") -> Iterator[str]:
    inputs = described.interface.inputs
    yield "Columns that a request holds"
    lines = [(one.name, str(one.kind), "may be missing" if one.missing_allowed else "needed") for one in inputs]
    yield from (f"  {line}" for line in table(("column", "kind", ""), lines[:_COLUMNS]).splitlines())
    if len(lines) > _COLUMNS:
        yield f"  and {len(lines) - _COLUMNS:,} more"


def _metrics(described: "Manifest") -> list[Metric]:
    return [Metric(**metric) for metric in described.results.get("test", {}).get("metrics", [])]


def _baselines(described: "Manifest") -> Iterator[Baseline]:
    for one in described.results.get("test", {}).get("baselines", []):
        standing = one.get("standing")  # bundles from before 2026-12 have none
        yield Baseline(
            name=one["name"],
            metrics=(),
            comparison=Comparison(**one["comparison"]),
            standing=Standing(**standing) if standing else None,
        )
