"""The page that shows a replayed year: one HTML file in the house style of the run's report."""

import json
from datetime import datetime

import plotly.graph_objects as go
import polars as pl

from tidemill.replay.results import alarms, figures, live_quality
from tidemill.replay.results.difference import Difference
from tidemill.replay.results.live_quality import Figure
from tidemill.replay.results.outcome import Outcome
from tidemill.report import document
from tidemill.report.document import Places
from tidemill.report.markup import Html, folded, join, table, tag, tiles, verdict
from tidemill.report.numerals import difference, estimate, interval, metric_name, number, share, signed

KINDS = {
    "retrain": "retrainings begun",
    "shadow": "challengers put into shadow",
    "canary": "canary stages",
    "promote": "promotions",
    "rollback": "rollbacks",
    "drop": "trials or retrainings without a change",
    "keep": "probations passed",
    "hold": "times held back",
    "approve": "approvals by a person",
}


def render(found: Outcome) -> str:
    """The whole page."""
    drawn = _figures(found)
    places = Places(drawn)
    parts = {
        "What was promised": _promised(found),
        "Champion against the first version": _champion(found, places),
        "Champions": _reigns(found),
        "Decisions": _decisions(found),
        "Evidence": _evidence(places),
        "Alarms": _alarms(found, places),
        "Injected faults": _faults(found),
        "Traffic": _traffic(found, places),
        "Totals": _totals(found),
    }
    return document.render(_title(found), _top(found), parts, drawn)


def _figures(found: Outcome) -> dict[str, go.Figure]:
    changes = [(reign.since, f"{reign.action} {reign.version}") for reign in found.reigns[1:]]
    faults = [(one.fault.begin, str(one.fault).partition("@")[0]) for one in found.faults]
    made = {
        "course": figures.course(found.course, _loss(found), changes + faults),
        "months": figures.months(found.months, _loss(found)),
        "better": figures.trials(found.readings, "better", "Evidence that a challenger is better"),
        "worse": figures.trials(found.readings, "worse", "Evidence that one on trial is worse"),
        "harm": figures.harm(found.readings, changes + faults),
        "alarms": figures.alarms(found.readings, changes + faults),
        "traffic": figures.traffic(found.days),
    }
    return {name: figure for name, figure in made.items() if figure is not None}


def _title(found: Outcome) -> str:
    return f"{found.model}, replayed"


def _top(found: Outcome) -> Html:
    asked = [day["day"] for day in found.days if day["records"]]
    kinds, compared = found.kinds, found.champion
    shown = [
        ("answered", f"{found.served:,}", f"of {found.records:,} records"),
        ("failed", f"{found.failed:,}", "requests without a prediction"),
        (f"{metric_name(found.loss)}, champion", number(compared.ours), f"first version: {number(compared.theirs)}"),
        ("promotions", str(kinds.get("promote", 0)), f"{kinds.get('rollback', 0)} rollbacks"),
        ("retrainings", str(kinds.get("retrain", 0)), f"held back: {kinds.get('hold', 0)}"),
        ("alarms", f"{_counted(found).height:,}", "each counted once"),
    ]
    lead = (
        f"{found.records:,} records from {asked[0]:%-d %B %Y} to {asked[-1]:%-d %B %Y}, in order of time, through the "
        "HTTP endpoint; each label came when it had become known."
    )
    return join([tag("h1", _title(found)), tag("p", lead, class_="lead"), _verdicts(found), tiles(shown)])


def _verdicts(found: Outcome) -> Html:
    """First whether answers were worth what was promised, then what the loop has changed."""
    kept, said = live_quality.verdict(found.kept, found.loss)
    reasons = [] if kept else [*found.shifted, *found.learnt]
    return join([verdict(said[0], [*said[1:], *reasons], good=kept), _verdict(found)])


def _verdict(found: Outcome) -> Html:
    one, harmful = found.champion, [reign.version for reign in found.reigns if reign.harmful]
    if one.upper < 0:
        said, good = "The champion answered better than the first version would have.", True
    elif one.lower > 0:
        said, good = "The champion answered worse than the first version would have.", False
    elif len(found.reigns) < 2:
        said, good = "The first version stayed champion throughout.", True
    else:
        said, good = "No difference for certain between the champion and the first version.", True
    paired = difference(one.difference, one.lower, one.upper)
    about = [
        f"{metric_name(found.loss)} difference {paired}, on {one.rows:,} records of {one.days} days (days resampled)."
    ]
    if found.failed:
        about.append(f"{found.failed:,} records got no prediction.")
    if harmful:
        about.append(f"Promoted and then shown harmful beyond the margin: {', '.join(harmful)}.")
    return verdict(said, about, good=good and not found.failed and not harmful)


def _promised(found: Outcome) -> Html:
    name, score = metric_name(found.loss), next((one.score for one in found.promises if one.score), None)
    head = ("answers of", "records", f"{name} promised", f"{name} live", "of a constant")
    scored = (f"{metric_name(score)} promised", f"{metric_name(score)} live") if score else ()
    rows = [
        (
            one.who,
            f"{one.rows:,}",
            _figure(one.promised),
            tag("span", _figure(one.live), class_="bad") if one.broken or one.trivial else _figure(one.live),
            number(one.constant),
            *((_figure(one.promised_score), number(one.live_score)) if score else ()),
        )
        for one in found.promises
    ]
    about = (
        "Promised is what a version's test split showed, with its 95% interval; live is what answers were worth once "
        "their labels were known, days resampled. The constant answers every record alike, as frequent as classes were "
        "(or the mean) in what the first version learnt from. Red: worse than promised beyond both intervals, or worse "
        "than the constant."
    )
    learnt = [tag("p", " ".join(found.learnt))] if found.learnt else []
    return join([tag("p", about), table((*head, *scored), rows, numbers=range(1, len(head) + len(scored))), *learnt])


def _figure(one: Figure | None) -> str:
    return "–" if one is None else estimate(one.value, one.lower, one.upper)


def _champion(found: Outcome, places: Places) -> Html:
    head = ("month", "records", "champion", "first version", "difference", "95% interval")
    rows = [
        (f"{month:%B %Y}", f"{one.rows:,}", f"{one.ours:.4f}", f"{one.theirs:.4f}", *_ends(one))
        for month, one in found.months
    ]
    one = found.champion
    rows.append(("all", f"{one.rows:,}", f"{one.ours:.4f}", f"{one.theirs:.4f}", *_ends(one)))
    about = (
        "The answers that clients got against those that the first version gives to the same records, as they were "
        "sent. Intervals resample days, as records of one day are alike."
    )
    parts = [tag("p", about), places("course"), table(head, rows, numbers=range(1, 6)), places("months")]
    return join(part for part in parts if part is not None)


def _reigns(found: Outcome) -> Html:
    head = ("version", "became champion by", "since", "until", "less the one before, on this time", "95% interval", "")
    rows = [
        (
            reign.version,
            reign.action,
            _moment(reign.since),
            _moment(reign.until) if reign.until else "the end",
            *(_ends(reign.against) if reign.against else ("", "")),
            tag("span", "harmful", class_="bad") if reign.harmful else "",
        )
        for reign in found.reigns
    ]
    about = (
        f"Both versions answer the records of that time again. Harmful: worse than the one before by more than "
        f"{share(found.margin)} of its loss, for certain."
    )
    return join([tag("p", about), table(head, rows, numbers=(4, 5))])


def _decisions(found: Outcome) -> Html:
    if found.decisions.is_empty():
        return tag("p", "None: no steward has decided anything.")
    rows = [
        (
            row["number"],
            _moment(row["moment"]),
            f"{row['kind']}{' (proposed)' if row['proposed'] else ''}",
            row["version"] or "",
            join([tag("div", row["reason"]), _numbers(row["evidence"])]),
        )
        for row in found.decisions.to_dicts()
    ]
    return table(("number", "moment", "decision", "version", "reason"), rows, numbers=(0,))


def _numbers(evidence: str | None) -> Html:
    content = json.loads(evidence) if evidence else {}
    content.pop("carried", None)  # the whole state of a stage, for the steward alone
    if not content:
        return Html("")
    return folded("the numbers", tag("pre", json.dumps(content, indent=2, ensure_ascii=False)))


def _evidence(places: Places) -> Html | None:
    shown = [part for part in (places("better", "worse"), places("harm")) if part is not None]
    about = "Evidence may be looked at any day: it crosses its threshold by chance no more often than was allowed."
    return join([tag("p", about), *shown]) if shown else None


def _alarms(found: Outcome, places: Places) -> Html:
    began = _counted(found)
    if began.is_empty():
        return tag("p", "No check raised an alarm.")
    rows = [
        (_moment(row["moment"]), row["severity"], row["check"], row["subject"], row["says"]) for row in began.to_dicts()
    ]
    listed = folded(f"all {began.height:,}", table(("moment", "severity", "check", "about", "says"), rows))
    return join([part for part in (places("alarms"), listed) if part is not None])


def _faults(found: Outcome) -> Html | None:
    if not found.faults:
        return None
    rows = [
        (
            str(one.fault),
            one.check or tag("span", "not named", class_="bad"),
            "" if one.delay is None else f"{one.delay.total_seconds() / 86_400:.1f}",
            one.says or "",
        )
        for one in found.faults
    ]
    about = "What first raised an alarm about the column after the fault had begun, and after how many days."
    return join([tag("p", about), table(("fault", "named by", "days", "says"), rows, numbers=(2,))])


def _traffic(found: Outcome, places: Places) -> Html:
    parts = [places("traffic")]
    for counts, what in ((found.failures, "records without a prediction"), (found.unlabelled, "labels not taken")):
        if counts:
            rows = [(reason, f"{count:,}") for reason, count in counts.items()]
            parts.append(table(("reason", what), rows, numbers=(1,)))
    return join(part for part in parts if part is not None)


def _totals(found: Outcome) -> Html:
    kinds = found.kinds
    rows = [
        ("records in this time", f"{found.records:,}"),
        ("that the schema cannot read, and so not sent", f"{found.unreadable:,}"),
        ("answered", f"{found.served:,}"),
        ("failed", f"{found.failed:,}"),
        ("answers that the ledger lacks", f"{found.unrecorded:,}"),
        ("answers that the ledger has twice", f"{found.twice:,}"),
        ("answers with their label in the ledger", f"{found.labelled:,}"),
        ("largest difference in loss between the first version's answers and its bundle's", f"{found.gap:.1e}"),
        ("alarms of harm", f"{_counted(found).filter(pl.col('severity') == 'harm').height:,}"),
        ("alarms of advice", f"{_counted(found).filter(pl.col('severity') == 'advice').height:,}"),
        ("decisions", f"{found.decisions.height:,}"),
        *((name, f"{kinds.get(kind, 0):,}") for kind, name in KINDS.items()),
    ]
    return table(("", "number"), rows, numbers=(1,))


def _counted(found: Outcome) -> pl.DataFrame:
    """Beginnings of alarms; what a trial shows is news."""
    return alarms.begun(found.readings.filter(pl.col("severity") != "news"))


def _loss(found: Outcome) -> str:
    return found.loss.replace("_", " ")


def _ends(one: Difference) -> tuple[str, str]:
    if one.lower == one.upper == 0:
        return "0", "the same answers"
    return signed(one.difference, one.lower, one.upper), interval(one.lower, one.upper)


def _moment(moment: datetime) -> Html:
    return tag("time", f"{moment:%Y-%m-%d %H:%M}")
