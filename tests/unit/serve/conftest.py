"""Ray Serve 2.60 declares its settings in a way that Pydantic 2.14 warns of; imported once, it is silent."""

import warnings

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Using extra keyword arguments on `Field`", category=DeprecationWarning)
    import ray.serve  # noqa: F401
