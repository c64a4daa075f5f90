"""Commands of `tidemill`, a file for each group: `add` describes its arguments and imports nothing heavy."""
