"""One value of a table: how text, numbers and moments are read from what is written, at every door."""
