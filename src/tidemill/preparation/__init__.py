"""Preparation: statistics of the training split, built into one ONNX graph from raw columns to tensors.

`fit.fit` makes a `run.Preparation`; its `model` is joined with the trained network into the bundle's `model.onnx`.
`columns` holds the settings against the schema; `statistics` learns; `numeric`, `categorical`, `timestamp` and
`derived` are the pieces of the graph that `graph` puts together.
"""
