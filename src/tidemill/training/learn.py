"""From checked splits to a calibrated model: preparation, network, training, calibration.

Statistics are fitted on the training split; the best epoch and the calibration are chosen on
validation; the test split is not seen here.
"""

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import nn

from tidemill.bundle.export.parity import torch_answers
from tidemill.composition import component
from tidemill.data.dataset import Dataset
from tidemill.data.schema import Role, Schema
from tidemill.data.target import Labels, Target
from tidemill.evaluation.calibration import Conformal, Temperature, fit_conformal, fit_temperature
from tidemill.evaluation.intervals import Bootstrap
from tidemill.evaluation.metrics import compute
from tidemill.evaluation.results import Answered
from tidemill.models.heads import Answering, pool
from tidemill.models.inputs import ModelInputs
from tidemill.models.meaning import Meaning, meaning
from tidemill.preparation.fit import fit as fit_preparation
from tidemill.preparation.run import Preparation, Prepared
from tidemill.settings import EvaluationSettings, Objective, Settings
from tidemill.training import warm
from tidemill.training.fit import Fit, fit
from tidemill.training.record import Log
from tidemill.training.tensors import Tensors

LOG = logging.getLogger(__name__)
ROWS_AT_ONCE = 8_192
NO_INTERVALS = Bootstrap(level=0.95, number=0, seed=0)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Split:
    """One split on its way to the network: its typed table, prepared features and encoded labels."""

    table: pl.DataFrame
    prepared: Prepared
    labels: Labels


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Learned:
    """What training came to.

    metrics: of the calibrated answers on the validation split, by name; what trials of a sweep are ranked by.
    answering: the whole torch model behind the preparation, calibrated: what is exported.
    calibration: None where `evaluation.calibrate` is off (regression always has its interval).
    """

    preparation: Preparation
    answering: Answering
    calibration: Temperature | Conformal | None
    fit: Fit
    metrics: dict[str, float]
    train: Split
    validation: Split


def learn(settings: Settings, data: Dataset, folder: Path, log: Log) -> Learned:
    """Fit the preparation, train the network and calibrate its answers.

    Args:
        log: gets figures by optimiser step while training goes on.

    Raises:
        PreparationError, TrainingError: what stands in the way, by column or setting.
    """
    objective = data.target.objective
    preparation = fit_preparation(data.splits.train, data.schema, settings.preparation)
    train, validation = (
        Split(table=table, prepared=preparation.run_table(table), labels=data.target.encode(table[data.target.name]))
        for table in (data.splits.train, data.splits.validation)
    )
    LOG.info(
        "Preparation: %d numeric and %d categorical features",
        len(preparation.numeric_names),
        len(preparation.categorical_names),
    )
    mean, scale = _standard(train.labels, objective)
    splits = [_tensors(split, data.schema, objective, mean, scale) for split in (train, validation)]
    network, belongs = _network(settings, preparation, splits[0], data.target)
    LOG.info("Training %s: %s parameters", settings.model.name, f"{sum(p.numel() for p in network.parameters()):,}")
    result = fit(
        settings.training,
        seed=settings.seed,
        network=network,
        objective=objective,
        train=splits[0],
        validation=splits[1],
        folder=folder,
        log=log,
        meaning=belongs,
    )
    plain = Answering(result.network, objective, mean=mean, scale=scale)
    calibration = _calibrate(plain, splits[1], validation.labels, settings.evaluation)
    answering = _calibrated(plain, calibration)
    return Learned(
        preparation=preparation,
        answering=answering,
        calibration=calibration,
        fit=result,
        metrics=_metrics(answering, validation, data.target),
        train=train,
        validation=validation,
    )


def _network(settings: Settings, preparation: Preparation, train: Tensors, target: Target) -> tuple[nn.Module, Meaning]:
    """The network as training begins with it, and what its weights belong to."""
    torch.manual_seed(settings.seed)
    module = component("tidemill.models", settings.model.name, having="build", key="model.name")
    build = partial(module.build, settings.model.parameters)
    inputs = ModelInputs(numeric_BN=train.numeric, cardinalities=preparation.cardinalities, outputs=target.outputs)
    network: nn.Module = build(inputs)
    belongs = meaning(network, build, warm.names(preparation, target))
    if settings.training.warm_start is not None and settings.training.resume is None:
        warm.start(network, belongs, Path(settings.training.warm_start))
    return network, belongs


def _standard(labels: Labels, objective: Objective) -> tuple[float, float]:
    """Mean and scale of a regression target on the training split: the network predicts (target − mean) / scale."""
    if objective is not Objective.REGRESSION:
        return 0.0, 1.0
    return float(labels.mean()), float(labels.std()) or 1.0


def _tensors(split: Split, schema: Schema, objective: Objective, mean: float, scale: float) -> Tensors:
    target = torch.tensor(split.labels)
    if objective is Objective.REGRESSION:
        target = ((target - mean) / scale).float()
    weight = schema.only(Role.WEIGHT)
    weights = None if weight is None else torch.from_numpy(split.table[weight.name].to_numpy().astype(np.float32))
    return Tensors(
        numeric=torch.from_numpy(split.prepared.numeric),
        categorical=torch.from_numpy(split.prepared.categorical),
        target=target,
        weight=weights,
    )


def _calibrate(
    plain: Answering, validation: Tensors, labels: Labels, settings: EvaluationSettings
) -> Temperature | Conformal | None:
    objective = plain.objective
    if not settings.calibrate and objective is not Objective.REGRESSION:
        return None
    pooled = []
    with torch.inference_mode():
        for start in range(0, len(validation), ROWS_AT_ONCE):
            batch = validation[start : start + ROWS_AT_ONCE]
            pooled.append(pool(plain.network(batch.numeric, batch.categorical).float(), objective))
    outputs = torch.cat(pooled).double().numpy()
    if objective is Objective.REGRESSION:
        return fit_conformal(outputs[:, 0] * plain.scale + plain.mean, labels, settings.coverage)
    return fit_temperature(outputs, labels)


def _metrics(answering: Answering, validation: Split, target: Target) -> dict[str, float]:
    prepared = validation.prepared
    answers = torch_answers(answering, prepared.numeric, prepared.categorical, target)
    answered = Answered(objective=target.objective, labels=validation.labels, answers=answers)
    return {metric.name: metric.value for metric in compute(answered, NO_INTERVALS)}


def _calibrated(plain: Answering, calibration: Temperature | Conformal | None) -> Answering:
    return Answering(
        plain.network,
        plain.objective,
        temperature=calibration.value if isinstance(calibration, Temperature) else 1.0,
        half_width=calibration.half_width if isinstance(calibration, Conformal) else 0.0,
        mean=plain.mean,
        scale=plain.scale,
    )
