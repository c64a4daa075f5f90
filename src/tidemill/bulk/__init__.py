"""Bulk scoring: files of any size through the predictor, on all cores or a Ray cluster, resumable."""
