"""Tables to check."""

import numpy as np
import polars as pl

from tidemill.data.findings import Finding, Severity

N = 1_000
GENERATOR = np.random.default_rng(0)
ERROR, WARNING, INFO = Severity.ERROR, Severity.WARNING, Severity.INFO


def frame(rows: int = N, /, **columns: object) -> pl.DataFrame:
    return pl.DataFrame({"noise": GENERATOR.normal(size=rows), **columns})


def finding(check: str, severity: Severity) -> Finding:
    return Finding(
        check=check, severity=severity, column="x", message=f"{check} in x", rows=1, share=0.1, remedy=f"mend {check}"
    )
