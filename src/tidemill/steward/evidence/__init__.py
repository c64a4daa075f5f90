"""Evidence with stated error rates at any moment: betting, bounds, detectors and sampling; pure NumPy and SciPy."""
