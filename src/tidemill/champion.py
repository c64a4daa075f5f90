"""The champion at the gate: its answers to the new version's test rows, which it reads by its own schema."""

import dataclasses

import numpy as np
import polars as pl

from tidemill.bundle import manifest
from tidemill.bundle.predictor import Predictor
from tidemill.bundle.registry import gate
from tidemill.bundle.registry.gate import Contender, Verdict
from tidemill.bundle.registry.registry import Registry
from tidemill.data import raw
from tidemill.data.dataset import Dataset, source
from tidemill.data.raw import Raw
from tidemill.data.schema import Role
from tidemill.data.second_reading import read_again, read_alike
from tidemill.data.target import Target
from tidemill.errors import SchemaError, TidemillError
from tidemill.evaluation.results import Answers, Baseline
from tidemill.settings import Settings, SplitMethod

READS = 0.9
"""Share of the test rows that the champion must be able to read: on fewer the two would not be compared fairly."""


def challenge(
    settings: Settings,
    registry: Registry,
    data: Dataset,
    test: pl.DataFrame,
    new: Contender,
    baselines: tuple[Baseline, ...],
) -> Verdict:
    """Let the gate compare a new version with the champion on the test rows.

    A champion that cannot read them stays, with a reason that says what to do.

    Args:
        test: the test split, typed by the new version's schema.
    """
    labels = data.target.encode(test[data.target.name])
    version = registry.aliases(settings.name).get("champion")
    if version is None:
        return gate.decide(new, None, labels, baselines, settings.gate, seed=settings.seed)
    try:
        with registry.fetched(settings.name, version, verify=False) as folder:
            champion = Predictor(folder)
        rows, kept = _rows(champion, settings, data, test)
        champions = _contender(champion, rows)
    except TidemillError as error:
        reason = (
            f"Champion {version} cannot be compared on these test rows, and stays: {error} If the new version is to "
            f"follow it nevertheless: tidemill registry promote {settings.name} NUMBER"
        )
        return Verdict(passed=False, reasons=(reason,), comparison=None)
    ours = dataclasses.replace(new, answers=_chosen(new.answers, kept))
    verdict = gate.decide(ours, champions, labels[kept], baselines, settings.gate, seed=settings.seed)
    said = []
    if len(kept) < test.height:
        said.append(f"Compared on the {len(kept):,} of {test.height:,} test rows that champion {version} can read.")
    if _divided_otherwise(champion, settings, data):
        said.append(
            f"Champion {version} was trained on this table, split otherwise: it may have learnt from some of these "
            "test rows, and look better on them than it is."
        )
    if not verdict.passed:
        said.append(
            f"If the new version is to answer nevertheless: tidemill registry promote {settings.name} NUMBER --reason "
            "WHY; to compare the two on requests first, add --to challenger."
        )
    return dataclasses.replace(verdict, reasons=(*verdict.reasons, *said))


def _divided_otherwise(champion: Predictor, settings: Settings, data: Dataset) -> bool:
    """Whether the champion's training split may hold rows of our test split: of one table that was not split alike."""
    before, split = champion.manifest.data, settings.data.split
    same_table = before.get("fingerprint") == data.fingerprint
    if not same_table and before.get("source") != source(settings.data):
        return False
    return before["split"] != manifest.plain(split) or not (same_table or split.method is SplitMethod.TIME)


def _rows(champion: Predictor, settings: Settings, data: Dataset, test: pl.DataFrame) -> tuple[Raw, np.ndarray]:
    """The champion's inputs of the test rows that it can read, and their places among all."""
    if read_alike(data.schema, champion.columns):
        return raw.from_table(test, champion.columns), np.arange(test.height)
    again = read_again(test, settings.data, data.schema, data.target, champion.columns)
    if len(again.kept) < READS * test.height:
        raise SchemaError(
            f"A champion reads at least {READS:.0%} of the test rows that it is compared on",
            observed=f"{len(again.kept):,} of {test.height:,}; its schema has rules or kinds that the others break",
            remedy="train with its kinds (data.kinds, data.schema), or take the rules back (data.quality).",
        )
    return raw.from_table(again.table, champion.columns), again.kept


def _contender(champion: Predictor, rows: Raw) -> Contender:
    described = champion.manifest
    target = described.schema.with_role(Role.TARGET)[0].name
    return Contender(
        target=Target(name=target, objective=described.identity.objective, classes=tuple(described.identity.classes)),
        answers=champion.predict(rows),
    )


def _chosen(answers: Answers, kept: np.ndarray) -> Answers:
    return {name: values[kept] for name, values in answers.items()}
