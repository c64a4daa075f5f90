"""Losses of rows by hand, in their bounds, for classes that a version does not know, and by functions of one's own."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from live_rows import LOSSES, made, metric, rows, watched

from tidemill.composition import build
from tidemill.errors import LedgerError, SettingsError
from tidemill.settings import Objective
from tidemill.steward.bundle_loss import allowed_loss
from tidemill.steward.losses import Loss, Settings, make, probabilities_of


def loss(objective: Objective = Objective.BINARY, **settings: Any) -> Loss:
    return make(build(Settings, {**LOSSES, **settings}), made(objective=objective).identity)


def answers(probabilities: list[list[float] | None], true: list[str | None], **columns: Any) -> pl.DataFrame:
    number = len(true)
    return pl.DataFrame(
        {
            "version": ["7"] * number,
            "classes": [["on time", "late"]] * number,
            "probabilities": probabilities,
            "true_label": true,
            **columns,
        },
        schema_overrides={"probabilities": pl.List(pl.Float32), "true_label": pl.String},
    )


def test_log_loss_is_clipped_at_its_setting() -> None:
    by = loss(smallest_probability=0.05)
    given = answers([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0], [0.0, 1.0]], ["late", "late", "late", "late"])
    found = by.of(given)
    np.testing.assert_allclose(found, np.log([0.5, 0.75, 0.05, 1.0]) / np.log(0.05), atol=1e-12)
    assert (by.name, by.unscaled(found[0])) == ("log_loss", pytest.approx(np.log(2)))


def test_brier_is_that_of_the_manifest() -> None:
    given = answers([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]], ["late", "on time", "late"])
    np.testing.assert_allclose(loss(name="brier").of(given), [0.25, 0.5625, 1.0])
    three = made().identity
    three.classes.append("cancelled")
    by = make(Settings(**{**LOSSES, "name": "brier"}), three)
    many = answers([[0.2, 0.3, 0.5]], ["late"]).with_columns(classes=pl.lit(["on time", "late", "cancelled"]))
    np.testing.assert_allclose(by.of(many), [(0.04 + 0.49 + 0.25) / 2], rtol=1e-6)
    assert by.unscaled(1.0) == 2.0


def test_zero_one_and_costs() -> None:
    labels = ["late", "on time", "late", None]
    given = answers([[0.5, 0.5]] * 4, ["late", "late", "on time", "late"], label=labels)
    assert loss(name="zero_one").of(given).tolist() == [0, 1, 1, 1]
    by = loss(name="cost", costs={"late": {"on time": 5, "late": 1}, "on time": {"late": 2}})
    assert [by.unscaled(value) for value in by.of(given)] == [1, 5, 2, 5]


def test_errors_of_a_value_are_clipped_at_the_scale() -> None:
    given = pl.DataFrame({"value": [1.0, 2.0, None, float("nan")], "true_value": [2.0, 9.0, 0.0, 0.0]})
    squared = loss(Objective.REGRESSION, scale=4.0)
    assert squared.of(given).tolist() == [1 / 16, 1, 1, 1] and squared.unscaled(1 / 16) == 1
    assert loss(Objective.REGRESSION, name="absolute_error", scale=4.0).of(given).tolist() == [1 / 4, 1, 1, 1]


def test_a_label_that_the_model_does_not_know_is_as_wrong_as_can_be() -> None:
    given = answers([[0.5, 0.5], None, [float("nan")] * 2], ["cancelled", "late", "late"], label=["late"] * 3)
    assert loss().of(given).tolist() == [1, 1, 1]
    assert loss(name="brier").of(given).tolist() == [1, 1, 1]
    assert loss(name="cost", costs={"late": {"on time": 5}}).of(given).tolist() == [1, 0, 0]


def test_each_version_has_its_own_order_of_classes() -> None:
    given = answers([[0.1, 0.9], [0.1, 0.9], [0.1, 0.9]], ["late", "late", "late"]).with_columns(
        version=pl.Series(["7", "8", None]),
        classes=pl.Series([["on time", "late"], ["late", "on time"], None]),
    )
    np.testing.assert_allclose(probabilities_of(given, ["on time", "late"], given["true_label"]), [0.9, 0.1, 0.9])


def test_labels_of_the_wrong_kind_are_refused() -> None:
    with pytest.raises(LedgerError, match=r"has the name of a class as its label\. Got: 1 of 2 rows have none"):
        loss().of(answers([[0.5, 0.5]] * 2, ["late", None]))
    with pytest.raises(LedgerError, match=r"has a number as its label\. Got: 2 of 2"):
        given = pl.DataFrame({"value": [1.0, 2.0], "true_value": [None, float("nan")]})
        loss(Objective.REGRESSION, scale=1.0).of(given)


def test_no_rows_have_no_losses() -> None:
    assert loss().of(rows(0, seed=0)).shape == (0,)


def test_a_function_of_ones_own_by_module_or_file(tmp_path: Any) -> None:
    (tmp_path / "own.py").write_text(
        "def late_only(rows):\n    return 3.0 * (rows['true_label'] == 'late').to_numpy()\n"
        "def short(rows):\n    return [0.0]\n"
    )
    given = answers([[0.5, 0.5]] * 2, ["late", "on time"])
    by = loss(name=f"{tmp_path}/own.py:late_only", bounds=[-1, 3])
    assert by.of(given).tolist() == [1.0, 0.25] and by.unscaled(0.25) == 0
    with pytest.raises(SettingsError, match=r"in losses.bounds \[0, 2\]\. Got: .* losses between 0 and 3 for 2 rows"):
        loss(name=f"{tmp_path}/own.py:late_only", bounds=[0, 2]).of(given)
    with pytest.raises(SettingsError, match=r"losses of shape \(1,\) for 2 rows"):
        loss(name=f"{tmp_path}/own.py:short", bounds=[0, 2]).of(given)
    with pytest.raises(SettingsError, match=r"A loss's module .* has no lat_only\. .*mean late_only\?"):
        loss(name=f"{tmp_path}/own.py:lat_only", bounds=[0, 2])
    with pytest.raises(SettingsError, match=r"bounds = \[\]: \[lowest, highest\] of the losses"):
        loss(name="numpy:ones")


def test_losses_that_cannot_be_are_named() -> None:
    with pytest.raises(SettingsError, match=r"zero_one, cost for a binary model.*'briar'.* did you mean brier\?"):
        loss(name="briar")
    with pytest.raises(SettingsError, match=r"for a regression model.*'zzz'.* set losses.name to auto"):
        loss(Objective.REGRESSION, name="zzz")
    with pytest.raises(SettingsError, match=r"losses.scale is set for squared_error"):
        loss(Objective.REGRESSION)
    with pytest.raises(SettingsError, match=r"Got: no class early\. .*with the classes on time, late"):
        loss(name="cost", costs={"early": {"late": 1}})
    with pytest.raises(SettingsError, match=r"not all the same\. Got: \{\}"):
        loss(name="cost")


def test_the_bundles_promise_is_the_worse_end_of_its_interval() -> None:
    sliced = [{"column": "city", "value": "JFK", "rows": 9, "metrics": [metric("log_loss", 0.5, 0.4, 0.7)]}]
    whole = watched(0.35, slices=sliced)
    by = whole.losses
    assert by.unscaled(allowed_loss(by, whole.manifest) or 0) == pytest.approx(0.35)
    assert by.unscaled(allowed_loss(by, whole.manifest, "city", "JFK") or 0) == pytest.approx(0.7)
    assert allowed_loss(by, whole.manifest, "city", "LGA") is None and allowed_loss(by, made()) is None
    for name, objective, figure, expected in [
        ("zero_one", Objective.BINARY, metric("accuracy", 0.9, 0.8, 0.95, higher=True), 0.2),
        ("squared_error", Objective.REGRESSION, metric("rmse", 1.5, None, None), 2.25),
        ("absolute_error", Objective.REGRESSION, metric("mae", 1.5, 1.4, 1.75), 1.75),
    ]:
        chosen = loss(objective, name=name, scale=4.0)
        assert chosen.unscaled(allowed_loss(chosen, made({"test": {"metrics": [figure]}})) or 0) == pytest.approx(
            expected
        )
    assert allowed_loss(loss(name="zero_one"), made({"test": {"metrics": [metric("accuracy", 1, 1, 1, True)]}})) == 1e-6
