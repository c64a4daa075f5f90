"""Two tables, or a table and a bundle's profile, compared: what `tidemill drift` shows."""
