"""From a learned model to a version in the registry: export, parity, evaluation, gate, report.

The only place that opens the test split, once: parity, every figure and the gate's paired test are
about the same rows, answered by the exported graph itself.
"""

import dataclasses
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from plotly.graph_objects import Figure

from tidemill import secrets
from tidemill.bundle import folder, manifest
from tidemill.bundle.export import export
from tidemill.bundle.export.export import Exported
from tidemill.bundle.registry import gate
from tidemill.bundle.registry.gate import Contender, Verdict
from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.champion import challenge
from tidemill.data import raw
from tidemill.data.dataset import Dataset, log_findings, source
from tidemill.data.profiles.profile import profile, profile_answers
from tidemill.data.raw import Raw
from tidemill.data.target import Labels
from tidemill.evaluation import importance, slices
from tidemill.evaluation.calibration import Conformal, Temperature
from tidemill.evaluation.evaluate import Tables, evaluate
from tidemill.evaluation.intervals import Bootstrap
from tidemill.evaluation.metrics import compute
from tidemill.evaluation.results import Answered, Answers, Evaluation, Importance
from tidemill.evaluation.suspicions import check as check_results
from tidemill.report import curves, gallery, page, standing
from tidemill.report.content import Calibration, DataContent, ReportContent, Reproduction, ResultsContent, SplitCounts
from tidemill.settings import Settings
from tidemill.training.learn import Learned

LOG = logging.getLogger(__name__)
BY = "train.py"
STAGED = "bundle"
"""Where a bundle is put together, inside the run's folder; it stays there, whatever the registry does."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Opened:
    """The test split, opened: its typed table, raw arrays and encoded labels, and the export's answers."""

    table: pl.DataFrame
    raw: Raw
    labels: Labels
    answers: Answers


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """All that manifest and report say of a run."""

    data: Dataset
    learned: Learned
    exported: Exported
    opened: Opened
    evaluation: Evaluation
    verdict: Verdict

    @property
    def rows(self) -> dict[str, int]:
        splits = self.data.splits
        return {
            "train": splits.train.height,
            "validation": splits.validation.height,
            "test": self.opened.table.height,
        }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Released:
    """A version in the registry, with what its report shows and the figures drawn for it."""

    version: str
    alias: Alias
    verdict: Verdict
    content: ReportContent
    figures: Mapping[str, Figure]
    bundle: Path


def release(settings: Settings, data: Dataset, learned: Learned, run_folder: Path, command: str) -> Released:
    """Export, check, evaluate and register; the gate decides about the champion.

    Args:
        command: makes the same run again; shown in the report.

    Raises:
        ExportError: the export answers otherwise than the model; nothing is registered.
        RegistryError: the registry cannot be written; the bundle stays whole in `run_folder`.
    """
    registry = Registry(settings.registry.path)
    LOG.info("Opening the test split: export and parity on all of its rows")
    exported, opened = _export(data, learned)
    LOG.info("Parity on %s rows: largest difference %.1e", f"{exported.parity.rows:,}", exported.parity.difference)
    LOG.info("Evaluating: metrics with intervals, slices, baselines, importance")
    evaluation = _evaluate(settings, data, learned, exported, opened)
    _say(evaluation)
    suspicions = tuple(check_results(evaluation, settings.data.ignored, settings.data.quality.allow_leaks))
    log_findings(suspicions)
    data = dataclasses.replace(data, findings=[*suspicions, *data.findings])
    new = Contender(target=data.target, answers=opened.answers)
    compared = challenge(settings, registry, data, opened.table, new, evaluation.baselines)
    decided = gate.bar(compared, tuple(finding.message for finding in data.findings if finding.bars))
    verdict = replace(decided, reasons=(*decided.reasons, *standing.advice(evaluation.baselines)))
    judged = _Judged(data, learned, exported, opened, evaluation, verdict)
    described = _manifest(settings, judged, run_folder)
    content = _content(settings, judged, described, command)
    figures = gallery.figures(content)
    folder.write(
        run_folder / STAGED,
        model=exported.model,
        describes=described,
        golden_rows=exported.golden,
        profile={"inputs": content.data.profile, "answers": profile_answers(opened.answers, data.target.classes)},
        report=page.render(content, figures),
    )
    version = registry.add(settings.name, run_folder / STAGED)
    registry.promote(settings.name, version, Alias.CANDIDATE, by=BY, reason="newest")
    alias = Alias.CHAMPION if verdict.passed and settings.registry.promote else Alias.CANDIDATE
    if alias is Alias.CHAMPION:
        registry.promote(settings.name, version, alias, by=BY, reason=" ".join(verdict.reasons))
    outcome = "passed" if decided.passed else "refused"
    LOG.info("%s", "\n  ".join([f"Gate: {outcome}.", *decided.reasons]))
    return Released(
        version=version, alias=alias, verdict=verdict, content=content, figures=figures, bundle=run_folder / STAGED
    )


def _say(evaluation: Evaluation) -> None:
    """The figures on the test split, and how the model stands against each baseline, for who watches the run."""
    for metric in evaluation.metrics:
        interval = "" if metric.lower is None else f"  ({metric.lower:.4f} to {metric.upper:.4f})"
        LOG.info("  %-18s %.4f%s", metric.name, metric.value, interval)
    if evaluation.unmeasured:
        LOG.info("  not measured, as the test split lacks a class: %s", ", ".join(evaluation.unmeasured))
    for part in evaluation.slices:
        if part.column == slices.SEEN and part.value == "no" and part.metrics:
            figures = ", ".join(f"{metric.name} {metric.value:.4f}" for metric in part.metrics)
            LOG.info("  on the %s test rows whose inputs are not in train: %s", f"{part.rows:,}", figures)
    for baseline in evaluation.baselines:
        LOG.info("%s", standing.sentence(baseline))
        if remedy := standing.remedy(baseline):
            LOG.info("  what to do: %s", remedy)


def _export(data: Dataset, learned: Learned) -> tuple[Exported, Opened]:
    table = data.splits.test.open("parity, evaluation and gate")
    rows = raw.from_table(table, data.schema.inputs)
    exported = export.export(learned.preparation, learned.answering, data.schema, data.target, rows)
    answers = exported.run(rows)
    labels = data.target.encode(table[data.target.name])
    return exported, Opened(table=table, raw=rows, labels=labels, answers=answers)


def _evaluate(settings: Settings, data: Dataset, learned: Learned, exported: Exported, opened: Opened) -> Evaluation:
    tables = Tables(schema=data.schema, train=learned.train.table, train_labels=learned.train.labels, test=opened.table)
    answered = Answered(objective=data.target.objective, labels=opened.labels, answers=opened.answers)
    important = _importance(settings, data, learned, exported)
    return evaluate(answered, tables, settings.evaluation, importance=important, seed=settings.seed)


def _importance(settings: Settings, data: Dataset, learned: Learned, exported: Exported) -> tuple[Importance, ...]:
    """Permutation importance on a sample of validation rows, through the exported graph."""
    split = learned.validation
    count = min(settings.evaluation.importance_rows, split.table.height)
    if count == 0:
        return ()
    chosen = np.sort(np.random.default_rng(settings.seed).choice(split.table.height, count, replace=False))
    return importance.permute(
        exported.run,
        raw.from_table(split.table[chosen], data.schema.inputs),
        split.labels[chosen],
        data.target.objective,
        level=settings.evaluation.level,
        seed=settings.seed,
    )


def _manifest(settings: Settings, judged: _Judged, run_folder: Path) -> manifest.Manifest:
    data, learned, test = judged.data, judged.learned, judged.data.splits.test
    return manifest.compose(
        settings.name,
        judged.exported.interface,
        data.target,
        data={
            "fingerprint": data.fingerprint,
            "source": source(settings.data),
            "split": settings.data.split,
            "rows": judged.rows,
            "quarantined": data.quarantined,
            "dropped": data.dropped,
            "test_opened": test.opened,
            "test_inspected": test.inspected,
        },
        results={
            "run": str(run_folder.absolute()),
            "validation_loss": learned.fit.best_loss,
            "validation": learned.metrics,
            "epochs": learned.fit.epochs,
            "best_epoch": learned.fit.best_epoch,
            "seconds": learned.fit.seconds,
            "device": learned.fit.device,
            "calibration": learned.calibration,
            "test": judged.evaluation,
            "parity": judged.exported.parity,
            "gate": judged.verdict,
        },
        settings=secrets.hidden(dataclasses.asdict(settings)),
    )


def _content(settings: Settings, judged: _Judged, described: manifest.Manifest, command: str) -> ReportContent:
    data, learned, opened, evaluation = judged.data, judged.learned, judged.opened, judged.evaluation
    parity = dataclasses.asdict(judged.exported.parity)
    return ReportContent(
        name=settings.name,
        data=DataContent(
            source=source(settings.data),
            schema=data.schema,
            target=data.target,
            findings=data.findings,
            split=SplitCounts(method=str(settings.data.split.method), rows=judged.rows, quarantined=data.quarantined),
            profile=profile(data.splits.train, data.schema),
        ),
        history=learned.fit.history,
        test=ResultsContent(
            answered=Answered(objective=evaluation.objective, labels=opened.labels, answers=opened.answers),
            evaluation=evaluation,
            level=settings.evaluation.level,
            calibration=_calibration(learned.calibration, opened, evaluation),
        ),
        parity={name: value for name, value in parity.items() if not isinstance(value, tuple)},
        verdict=judged.verdict,
        reproduction=Reproduction(
            created=described.identity.created,
            command=command,
            settings=described.settings,
            versions={"tidemill": described.code.tidemill, **described.code.dependencies},
        ),
    )


def _calibration(fitted: Temperature | Conformal | None, opened: Opened, evaluation: Evaluation) -> Calibration | None:
    """What calibration, fitted on validation, changed on the test rows."""
    if isinstance(fitted, Conformal):
        return Calibration(measures={}, coverage=fitted.coverage)
    if fitted is None:
        return None
    plain = curves.uncalibrated(opened.answers["probabilities"], fitted.value)
    before = Answered(objective=evaluation.objective, labels=opened.labels, answers={"probabilities": plain})
    values = {metric.name: metric.value for metric in compute(before, Bootstrap(level=0.95, number=0, seed=0))}
    after = {metric.name: metric.value for metric in evaluation.metrics}
    both = ("log_loss", "brier", "ece")
    return Calibration(
        measures={name: (values[name], after[name]) for name in both if name in values and name in after},
        temperature=fitted.value,
    )
