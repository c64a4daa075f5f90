"""Parity: an export does not exist until it answers as the torch model does.

Compared are all rows of the test split and the golden rows, in one pass, and a sample of them at
other batch sizes, where an exporter's mistakes with the batch dimension show.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from tidemill.bundle.answers import Answers, joined, network_outputs
from tidemill.data.raw import Raw
from tidemill.data.target import Target
from tidemill.errors import ExportError
from tidemill.settings import Objective

TOLERANCE = 1e-5
BATCHES = (1, 2, 7, 4096)
_CHUNK = 8192
_ROWS_AT_OTHER_BATCHES = {1: 50, 2: 50, 7: 210, 4096: 8192}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """Figures for the manifest.

    difference: the largest one; absolute for probabilities, and for regression relative to the larger
        of the value and the spread of all values.
    ties: rows whose labels differ while the probabilities agree; neither side is wrong.
    """

    rows: int
    difference: float
    ties: int
    batches: tuple[int, ...]


def torch_answers(network: nn.Module, numeric: np.ndarray, categorical: np.ndarray, target: Target) -> Answers:
    """What the torch module answers on the CPU in float32, labels decoded.

    Args:
        numeric, categorical: prepared features, float32 [rows, N] and int64 [rows, C].
    """
    device, training = next((p.device for p in network.parameters()), torch.device("cpu")), network.training
    network.cpu().eval()
    parts: list[tuple[torch.Tensor, ...]] = []
    with torch.inference_mode():
        for start in range(0, max(len(numeric), 1), _CHUNK):
            rows = slice(start, start + _CHUNK)
            outputs = network(torch.from_numpy(numeric[rows]), torch.from_numpy(categorical[rows]))
            parts.append(outputs if isinstance(outputs, tuple) else (outputs,))
    network.to(device).train(training)
    names = network_outputs(target.objective)
    answers = {name: torch.cat(column).numpy() for name, column in zip(names, zip(*parts, strict=True), strict=True)}
    if target.objective is not Objective.REGRESSION:
        answers["label"] = np.array(target.classes, dtype=object)[answers["probabilities"].argmax(axis=1)]
    return answers


def check(run: Callable[[Raw], Answers], raw: Raw, expected: Answers) -> Parity:
    """Compare the exported graph with the torch model.

    Args:
        run: raw rows → the exported graph's answers (a predictor, or an ONNX Runtime session).
        raw: every row of the test split, then the golden rows.
        expected: the torch model's answers to them.

    Raises:
        ExportError: an answer differs by more than the tolerance or is not finite; names the worst row.
    """
    rows = len(next(iter(expected.values())))
    spread = _spread(expected)
    got = joined([run(_rows(raw, slice(start, start + _CHUNK))) for start in range(0, rows, _CHUNK)])
    difference = _largest(got, expected, raw, spread, f"batch {_CHUNK}")
    ties = int((got["label"] != expected["label"]).sum()) if "label" in expected else 0
    for batch in BATCHES:
        chosen = _spread_out(rows, _ROWS_AT_OTHER_BATCHES[batch])
        sample, reference = _rows(raw, chosen), {name: values[chosen] for name, values in expected.items()}
        parts = [run(_rows(sample, slice(start, start + batch))) for start in range(0, len(chosen), batch)]
        difference = max(difference, _largest(joined(parts), reference, sample, spread, f"batch {batch}"))
    return Parity(rows=rows, difference=difference, ties=ties, batches=BATCHES)


def _largest(got: Answers, expected: Answers, raw: Raw, spread: float, where: str) -> float:
    """The largest difference in any answer, if it is within the tolerance."""
    largest = 0.0
    for name, values in expected.items():
        if name == "label":
            continue
        if got[name].shape != values.shape:
            raise ExportError(
                "The exported graph gives one answer a row",
                observed=f"{name} has shape {got[name].shape} where the torch model gives {values.shape}, at {where}",
                remedy="keep the batch size out of the network's forward",
            )
        for side, answers in (("torch model", values), ("exported graph", got[name])):
            _check_finite(answers, name, raw, f"{side}, {where}")
        scale = np.maximum(np.abs(values.astype(np.float64)), spread) if name != "probabilities" else 1.0
        distance = np.abs(got[name].astype(np.float64) - values) / scale
        largest = max(largest, float(distance.max(initial=0.0)))
        if largest > TOLERANCE:
            row = int(distance.reshape(len(values), -1).max(axis=1).argmax())
            raise ExportError(
                f"The exported graph answers as the torch model does, within {TOLERANCE:g}",
                observed=f"{name} is {got[name][row]} instead of {values[row]} ({where}) for {_record(raw, row)}",
                remedy="use a model that exports faithfully, or report this with the record above",
            )
    if "label" in expected:
        _check_labels(got, expected, raw, where)
    return largest


def _check_labels(got: Answers, expected: Answers, raw: Raw, where: str) -> None:
    """Labels may differ only where the two largest probabilities are a numerical tie."""
    for row in np.flatnonzero(got["label"] != expected["label"]):
        second, first = np.sort(expected["probabilities"][row])[-2:]
        if first - second > 2 * TOLERANCE:
            raise ExportError(
                "The exported graph gives the label of the largest probability",
                observed=f"{got['label'][row]!r} instead of {expected['label'][row]!r} ({where}) "
                f"for {_record(raw, int(row))}",
                remedy="report this with the record above: classes and probabilities are out of step",
            )


def _check_finite(answers: np.ndarray, name: str, raw: Raw, where: str) -> None:
    bad = ~np.isfinite(answers).reshape(len(answers), -1).all(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise ExportError(
            "A model has a finite answer to every record, missing and infinite values included",
            observed=f"{name} is {answers[row]} ({where}) for {_record(raw, row)}",
            remedy="set preparation.numeric.clip, so that extreme values stay in the range that the network can bear",
        )


def _record(raw: Raw, row: int) -> str:
    values = ", ".join(f"{name}={str(values[row])[:40]!r}" for name, values in list(raw.items())[:60])
    return f"row {row}: {values}"


def _spread(expected: Answers) -> float:
    """Interquartile range of all values: what a relative error means near zero. Never quite 0."""
    values = expected.get("value", np.zeros(0))
    values = values[np.isfinite(values)].astype(np.float64)
    low, high = np.quantile(values, [0.25, 0.75]) if len(values) else (0.0, 1.0)
    return max(float(high - low), float(np.finfo(np.float32).tiny))


def _rows(raw: Raw, chosen: slice | np.ndarray) -> Raw:
    return {name: values[chosen] for name, values in raw.items()}


def _spread_out(rows: int, count: int) -> np.ndarray:
    """Up to `count` row numbers from first to last; the golden rows at the end are always among them."""
    half = count // 2
    return np.unique(np.concatenate([np.linspace(0, rows - 1, half).astype(int), np.arange(max(0, rows - half), rows)]))
