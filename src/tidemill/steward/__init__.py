"""What watches a served model: evidence with stated error rates, at whatever moment one looks."""
