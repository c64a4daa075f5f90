"""Requests with columns of odd names are recorded like any others."""

import json

import numpy as np
import pytest

from tidemill.data.schema import Column, Schema
from tidemill.ledger.inputs import Inputs
from tidemill.ledger.record import Answered, Form, Role
from tidemill.ledger.settings import LedgerSettings
from tidemill.settings import Kind


@pytest.mark.parametrize("name", ['say "hi"', "back\\slash", "new\nline", "\x01", "dot.ted", "f1"])
def test_columns_of_any_name_are_recorded(name: str, settings: LedgerSettings) -> None:
    schema = Schema(columns=(Column(name=name, kind=Kind.NUMERIC), Column(name="plain", kind=Kind.CATEGORICAL)))
    request = Answered(
        id="a",
        at=0,
        version="1",
        role=Role.CHAMPION,
        propensity=1.0,
        latency=1,
        form=Form.ROWS,
        inputs=json.dumps({"rows": [{name: 1.5, "plain": "x"}]}).encode(),
        rows=None,
        answers={"value": np.array([0.5])},
    )
    frame = Inputs(schema.to_dict(), settings, b"key")._frame([request])
    assert next(iter(frame.rows()))[0] == 1.5
