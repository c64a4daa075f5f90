"""Replay: a stretch of the past sent through the whole loop, in order of time, and what came of it."""
