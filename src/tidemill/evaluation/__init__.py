"""What a model's answers are worth: metrics with intervals, calibration, baselines, paired comparisons."""
