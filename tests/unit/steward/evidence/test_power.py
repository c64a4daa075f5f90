"""Rows that a gate needs, against the gate itself on generated losses."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tidemill.bundle.manifest import Code, Identity, Interface, Manifest
from tidemill.evaluation.intervals import Bootstrap, mean_quantiles
from tidemill.settings import Objective
from tidemill.steward.evidence import power

Z = 1.959964


def champion(apart: float | None = 0.2, rows: int = 2_000, **gate: Any) -> Manifest:
    """A log loss of 0.5 with a deviation of 0.6; a boosting baseline whose loss differs by row by `apart`."""
    half = Z * 0.6 / np.sqrt(rows)

    def comparison(deviation: float, difference: float) -> dict[str, Any]:
        width = Z * deviation / np.sqrt(rows)
        ends = {"lower": difference - width, "upper": difference + width}
        return {"loss": "log_loss", "difference": difference, **ends, "level": 0.95, "rows": rows}

    trivial = {"name": "trivial", "metrics": [], "comparison": comparison(0.5, -0.12)}
    boosting = [{"name": "boosting", "metrics": [], "comparison": comparison(apart, 0.01)}] if apart else []
    loss = {"name": "log_loss", "value": 0.5, "lower": 0.5 - half, "upper": 0.5 + half, "higher_is_better": False}
    return Manifest(
        format=1,
        identity=Identity(model="m", version="1", created="", objective=Objective.BINARY, classes=["a", "b"]),
        interface=Interface(inputs=[], outputs=[], schema={}),
        code=Code(tidemill="", commit=None, dependencies={}),
        data={},
        results={
            "test": {"rows": rows, "metrics": [loss], "baselines": [trivial, *boosting]},
            "gate": {"passed": True, "comparison": trivial["comparison"]},
        },
        settings={"gate": {"margin": 0.05, "level": 0.95, **gate}, "evaluation": {"level": 0.95}},
    )


def passes(rows: int, gain: float, need: power.Need, seed: int) -> bool:
    """The gate's bound on losses of two models of which neither is better, or the new one by `gain`."""
    random = np.random.default_rng(seed)
    theirs = random.gamma(0.5**2 / 0.6**2, 0.6**2 / 0.5, rows)
    ours = theirs - gain + random.normal(0, 0.2, rows)
    bootstrap = Bootstrap(level=need.level, number=300, seed=seed)
    return mean_quantiles(ours - (1 + need.margin) * theirs, (need.level,), bootstrap)[0] <= 0


@pytest.mark.parametrize("gain", [0.0, 0.05])
def test_with_so_many_rows_the_gate_passes_what_it_should(gain: float) -> None:
    need = power.needed(champion(), [], gain)
    assert need is not None and need.gain == gain
    share = np.mean([passes(need.rows, gain, need, seed) for seed in range(200)])
    assert 0.72 < share < 0.9, (need.rows, share)
    few = np.mean([passes(need.rows // 8, gain, need, seed) for seed in range(200)])
    assert few < 0.5, "an eighth of them does not decide"


def test_it_goes_by_the_gate_of_the_command_and_by_what_is_known() -> None:
    need = power.needed(champion(), [])
    assert need is not None and need.rows == pytest.approx(
        (1.645 + 0.842) ** 2 * (0.2**2 + 0.03**2) / 0.025**2, rel=0.01
    )
    assert need.records == need.rows + (need.rows + 1) // 2
    wider = power.needed(champion(), ["train.py", "gate.margin=0.1"])
    assert wider is not None and wider.rows < need.rows / 3.5
    alone = power.needed(champion(apart=None), [])
    assert alone is not None and alone.spread == pytest.approx(0.6 * np.sqrt(0.2 + 0.05**2), rel=1e-3)
    before = champion()
    near = {"difference": 0.0, "lower": -0.001, "upper": 0.001}
    before.results["gate"]["comparison"] = {**before.results["gate"]["comparison"], **near}
    found = power.needed(before, [])
    assert found is not None and found.spread < need.spread, "a comparison with the champion before it says more"
    assert "needs" in str(need) and f"{need.rows:,} test rows" in str(need)


def test_a_regression_goes_by_squared_errors() -> None:
    one = champion(apart=None)
    rmse = {"name": "rmse", "value": 2.0, "lower": 1.9, "upper": 2.1, "higher_is_better": False}
    one.results["test"]["metrics"] = [rmse]
    need = power.needed(one, [])
    assert need is not None and need.loss == 4.0


def test_where_nothing_is_known_nothing_is_asked_for() -> None:
    assert power.needed(replace(champion(), results={}), []) is None
    assert power.needed(replace(champion(), settings={}), []) is None
    assert power.needed(champion(margin=0.0), []) is None
