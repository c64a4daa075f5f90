"""Tidemill: from raw records to a deep-learning model that stays right in production."""

__version__ = "0.1.0"
