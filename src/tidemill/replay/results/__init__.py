"""What came of a replay: the outcome, its figures and its page."""
