"""The export: one graph that has been shown to answer as the trained model does, with golden rows to show it again."""

from dataclasses import dataclass

import numpy as np
import onnx
from torch import nn

from tidemill.bundle import golden
from tidemill.bundle.export import joining, parity
from tidemill.bundle.export.parity import Parity
from tidemill.bundle.golden import Golden
from tidemill.bundle.manifest import Interface
from tidemill.bundle.runtime import Runtime
from tidemill.data.raw import Raw
from tidemill.data.schema import Schema
from tidemill.data.target import Target
from tidemill.preparation.run import Preparation

_REAL_GOLDEN_ROWS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """What goes into a bundle. It does not exist unless parity holds."""

    model: onnx.ModelProto
    interface: Interface
    golden: Golden
    parity: Parity
    run: Runtime
    """The graph, ready to answer."""


def export(preparation: Preparation, network: nn.Module, schema: Schema, target: Target, test: Raw) -> Exported:
    """Join preparation and network, and compare the result with the torch model.

    Args:
        network: `models.heads.Answering`, trained and calibrated.
        test: every row of the test split; `schema.inputs` by the raw input contract. At least one row.

    Raises:
        ExportError: the network does not export, or its export answers otherwise than itself on some row.
    """
    interface = Interface.of(schema, preparation.inputs, target)
    model = joining.join(preparation.model, network, target)
    run = Runtime(model.SerializeToString(), interface)
    raw = golden.rows(_some(test), schema.inputs)
    rows = {name: np.concatenate([test[name], raw[name]]) for name in raw}
    prepared = preparation.run(rows)
    expected = parity.torch_answers(network, prepared.numeric, prepared.categorical, target)
    figures = parity.check(run, rows, expected)
    recorded = Golden(raw=raw, answers=run(raw), real=len(next(iter(_some(test).values()))))
    return Exported(model=model, interface=interface, golden=recorded, parity=figures, run=run)


def _some(test: Raw) -> Raw:
    """Rows from first to last."""
    rows = len(next(iter(test.values())))
    chosen = np.unique(np.linspace(0, rows - 1, _REAL_GOLDEN_ROWS).astype(int))
    return {name: values[chosen] for name, values in test.items()}
