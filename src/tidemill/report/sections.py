"""The report's sections: what the answer stands on, part by part."""

import json

from tidemill.data.checks.findings import Severity
from tidemill.report.content import ReportContent
from tidemill.report.distributions import read
from tidemill.report.document import Places
from tidemill.report.gallery import drawn
from tidemill.report.markup import Html, breakable, folded, join, table, tag
from tidemill.report.numerals import metric_name, metric_rows, number, share, with_interval
from tidemill.report.standing import told

ECE = (
    "The calibration error adds up the gaps between what was said and what happened, in 15 bins. Chance alone opens "
    "such gaps, so that its value is above zero even for a calibrated model; its interval is for the error that is "
    "left without chance, and reaches down to zero where the model may well be calibrated."
)
SLICES = 1000
"""Lines of the slices' table; `manifest.json` holds all."""


def data(content: ReportContent) -> Html:
    split, schema = content.data.split, content.data.schema
    rows = sum(split.rows.values())
    splits = [(name, f"{count:,}", share(count / max(rows, 1))) for name, count in split.rows.items()]
    ranks = list(Severity)
    ordered = sorted(content.data.findings, key=lambda finding: ranks.index(finding.severity))
    found = [
        (
            join(
                [
                    tag("div", f.severity, class_="bad" if f.severity is not Severity.INFO else "soft"),
                    tag("div", f.check.replace("_", " ")),
                ]
            ),
            tag("div", tag("div", f.message), tag("div", "What to do: ", f.remedy, class_="soft"), class_="text"),
            join([tag("div", f"{f.rows:,}"), tag("div", share(f.share), class_="soft")]),
        )
        for f in ordered
    ]
    profiled = read(content.data.profile)
    columns = [
        (
            tag("div", breakable(column.name), class_="name"),
            column.kind,
            join([column.role, tag("div", column.reason, class_="soft")]) if column.reason else column.role,
            share(profiled[column.name].missing) if column.name in profiled else "",
            profiled[column.name].text if column.name in profiled else "",
        )
        for column in schema.columns
    ]
    heads = ("check", "what was found", "rows, share")
    return join(
        [
            tag("p", f"Source: {content.data.source}. Split: {split.method}."),
            table(("split", "rows", "share"), splits, numbers=(1, 2)),
            tag("p", f"{split.quarantined:,} rows broke a rule and were set aside.") if split.quarantined else "",
            tag("h3", "Quality"),
            table(heads, found, numbers=(2,)) if found else tag("p", "The checks found nothing to report."),
            tag("h3", "Columns"),
            table(("column", "kind", "role", "missing", "values in the training split"), columns, numbers=(3,)),
        ]
    )


def distributions(content: ReportContent, figures: Places) -> Html | None:
    names = [name for name in figures.names if name.startswith("distributions_")]
    if not names:
        return None
    note = "Rows of the training split by value; where a few values lie far out, they are gathered in the end bars."
    shown, columns = len(drawn(content)), len(content.data.profile["columns"])
    if shown < columns:
        note += f" Shown are {shown} of {columns:,} columns, those that the model leans on among them."
    more = [folded(f"More columns ({i} of {len(names)})", figures(name)) for i, name in enumerate(names[1:], start=2)]
    return join([tag("p", note, class_="soft"), figures(names[0]), *more])


def results(content: ReportContent, figures: Places) -> Html:
    evaluation, calibration = content.test.evaluation, content.test.calibration
    measures = calibration.measures if calibration else {}
    changed = [(metric_name(name), number(before), number(after)) for name, (before, after) in measures.items()]
    parts = [
        tag(
            "p",
            f"On the {evaluation.rows:,} rows of the test split, opened once, after every choice was made.",
        ),
        table(*metric_rows(evaluation.metrics, content.test.level), numbers=(1, 2)),
        tag("p", ECE, class_="soft") if any(m.name == "ece" for m in evaluation.metrics) else None,
        figures("roc", "precision_recall"),
        figures("reliability", "answers"),
        figures("confusion", "by_class"),
        figures("predicted_against_true", "errors"),
        figures("errors_by_answer", "coverage"),
    ]
    if changed:
        note = f" (temperature {number(calibration.temperature)})" if calibration and calibration.temperature else ""
        parts += [
            tag("h3", "Calibration"),
            tag("p", f"Fitted on the validation split{note} and part of the model: the figures above are calibrated."),
            table(("measure", "before", "after"), changed, numbers=(1, 2)),
        ]
    return join(part for part in parts if part is not None)


def slices(content: ReportContent, figures: Places) -> Html | None:
    found = content.test.evaluation.slices
    if not found:
        return None
    names = list(dict.fromkeys(metric.name for part in found for metric in part.metrics))
    rows = []
    for part in found[:SLICES]:
        by_name = {metric.name: metric for metric in part.metrics}
        figures_of = [with_interval(by_name.get(name)) for name in names]
        rows.append((part.column, part.value, f"{part.rows:,}", *figures_of))
    head = ("column", "value", "rows", *map(metric_name, names))
    every = table(head, rows, numbers=range(2, len(head)))
    return join([figures("slices"), folded("All metrics of all slices", every)])


def baselines(content: ReportContent, figures: Places) -> Html | None:
    others = content.test.evaluation.baselines
    if not others:
        return None
    names = [metric.name for metric in content.test.evaluation.metrics]
    lines = [("this model", content.test.evaluation.metrics), *((other.name, other.metrics) for other in others)]
    rows = [
        (name, *(with_interval(next((m for m in metrics if m.name == wanted), None)) for wanted in names))
        for name, metrics in lines
    ]
    head = ("model", *map(metric_name, names))
    every = table(head, rows, numbers=range(1, len(head)))
    note = "Fitted on the same training rows, measured on the same test rows; differences are paired, row by row."
    stands = tag("ul", *(tag("li", told(other)) for other in others))
    shown = [tag("p", note, class_="soft"), stands, figures("baselines", "differences"), folded("All metrics", every)]
    return join(part for part in shown if part is not None)


def importance(content: ReportContent, figures: Places) -> Html | None:
    if not content.test.evaluation.importance:
        return None
    note = (
        "Measured on validation rows. Columns that tell the same story share their importance, and may both look weak."
    )
    measured, inputs = len(content.test.evaluation.importance), len(content.data.schema.inputs)
    if measured < inputs:
        note += f" Measured are {measured} of {inputs:,} columns: those of the groups that mattered most together."
    return join([tag("p", note, class_="soft"), figures("importance")])


def export(content: ReportContent) -> Html | None:
    if not content.parity:
        return None
    rows = [
        (name.replace("_", " "), value if isinstance(value, str) else number(value))
        for name, value in content.parity.items()
    ]
    note = "The exported graph gives the trained model's answers:"
    return join([tag("p", note), table(("measure", "value"), rows, numbers=(1,))])


def reproduce(content: ReportContent) -> Html:
    settings = json.dumps(content.reproduction.settings, indent=2, ensure_ascii=False, default=str)
    return join(
        [
            tag("pre", content.reproduction.command),
            table(("part", "version"), content.reproduction.versions.items()),
            folded("All settings", tag("pre", settings)),
        ]
    )
