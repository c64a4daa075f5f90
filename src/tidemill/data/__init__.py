"""Tables: where they come from, what their columns are, checks, splits and profiles."""

import os

# Arrow and Parquet allow zones like "+05:30", at which Polars panics where it would only pass them on
os.environ.setdefault("POLARS_IGNORE_TIMEZONE_PARSE_ERROR", "1")
