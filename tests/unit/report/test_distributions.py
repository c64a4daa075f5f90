"""What small figures show of a column."""

import numpy as np
import polars as pl
import pytest

from tidemill.data.profiles.profile import profile
from tidemill.data.schema import Column, Schema
from tidemill.report import distributions
from tidemill.settings import Kind


@pytest.mark.parametrize("values", [19, 5000])
def test_uniform_whole_numbers_have_neither_peaks_nor_gaps(values: int) -> None:
    drawn = np.random.default_rng(0).integers(2000, 2000 + values, 20_000).astype(np.float64)
    schema = Schema(columns=(Column(name="year", kind=Kind.NUMERIC),))
    found = distributions.read(profile(pl.DataFrame({"year": drawn}), schema))["year"]
    assert found.places is not None and len(found.places) == len(found.rows) + 1
    inner = found.rows[1:-1]  # the last bar may reach beyond the largest value
    assert found.rows.sum() == pytest.approx(20_000) and inner.max() < 1.3 * inner.min()
