"""Replay: a past time window sent through the whole loop, in order of time, and what came of it."""
