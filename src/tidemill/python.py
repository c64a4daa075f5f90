"""The Python door: `tidemill.load` gives a registered model that answers in this process, `tidemill.train` trains one.

    import tidemill

    tidemill.train("+experiment=table", "data.path=people.csv", "data.target=income")
    model = tidemill.load("registry", "people")
    model.predict([{"age": 39, "education": "Bachelors"}])

Predicting needs no torch. Values are read as at every other door, and what is wrong gets the same errors.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from tidemill.bundle import manifest
from tidemill.bundle.answers import as_table
from tidemill.bundle.manifest import Manifest
from tidemill.bundle.predictor import Predictor
from tidemill.bundle.registry.registry import Alias, Registry
from tidemill.data import made_moments, raw
from tidemill.data.cells.refusals import unknown
from tidemill.data.raw import Raw
from tidemill.data.reading import FAILURES
from tidemill.data.schema import Column
from tidemill.errors import RequestError, SettingsError
from tidemill.serve.wire.inference.columns import absent
from tidemill.settings import addable, overrides

CONF = Path(__file__).parents[2] / "conf"
"""Beside `src/` in a checkout, from which Tidemill is installed."""


class Model:
    """One version of a model, checked and loaded. Safe to call from several threads.

    manifest: what it is, what goes in and out, and how good it was on its test split.
    """

    def __init__(self, predictor: Predictor) -> None:
        self._predictor = predictor
        self.manifest: Manifest = predictor.manifest
        self.columns: tuple[Column, ...] = predictor.columns
        self._others = {column.name for column in self.manifest.schema.columns} - {c.name for c in self.columns}

    @property
    def name(self) -> str:
        return self.manifest.identity.model

    @property
    def version(self) -> str:
        return str(self.manifest.identity.version)

    def __repr__(self) -> str:
        identity = self.manifest.identity
        return f"<Model {self.name} {self.version}: {identity.objective}, {len(self.columns)} columns>"

    def predict(self, rows: Any) -> pl.DataFrame:
        """Answers to N rows, in their order.

        Args:
            rows: a Polars or pandas table, an Arrow table or record batch, or a list of mappings from column to value.
                Columns of the training table that the model does not read may be there, its target among them; a
                column that may be missing may be left out.

        Returns:
            N rows of `label` and `probability_CLASS` for each class, or of `value`, `lower` and `upper`.

        Raises:
            RequestError: names row and column of what cannot be read: an unknown column, a missing or wrong value.
        """
        found = self._from_rows(rows) if isinstance(rows, Sequence) else self._from_table(_table(rows))
        return as_table(self._predictor.predict_in_parts(found), self.manifest.identity.classes)

    def _from_rows(self, rows: Sequence[Any]) -> Raw:
        plain = [
            {name: _plain(value) for name, value in row.items()} if isinstance(row, Mapping) else row for row in rows
        ]
        return raw.from_rows(plain, self.columns, self._others)

    def _from_table(self, table: pl.LazyFrame) -> Raw:
        made = made_moments.of_schema(table, self.columns).collect()
        inputs = {column.name for column in self.columns}
        for name in made.columns:
            if name not in inputs | self._others:
                raise unknown(0, name, inputs)
        return {column.name: _array(made, column) for column in self.columns}


def _array(table: pl.DataFrame, column: Column) -> np.ndarray:
    if column.name in table.columns and table.height:
        return raw.from_series(table[column.name], column)
    return absent(column, table.height) if table.height else raw.missing(column.kind, 0)


def _plain(value: Any) -> Any:
    """A value as JSON has it, of those that NumPy, pandas and `datetime` make."""
    if isinstance(value, np.generic):
        value = value.item()
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if isinstance(value, Decimal):
        return float(value)
    return value.isoformat() if isinstance(value, date | datetime) else value


def _table(given: Any) -> pl.LazyFrame:
    if isinstance(given, pl.DataFrame | pl.LazyFrame):
        return given.lazy()
    try:
        if type(given).__module__.partition(".")[0] == "pandas":
            return pl.from_pandas(given).lazy()
        if hasattr(given, "__arrow_c_stream__") or hasattr(given, "__arrow_c_array__"):
            return pl.DataFrame(given).lazy()
    except (*FAILURES, TypeError, ValueError, ImportError) as error:
        raise _no_table(f"{type(given).__name__}: {type(error).__name__}: {error}") from error
    raise _no_table(f"{type(given).__module__}.{type(given).__name__}")


def _no_table(observed: str) -> RequestError:
    return RequestError(
        "Rows are a Polars, pandas or Arrow table of flat columns, or a list of mappings from column to value",
        observed=observed,
        remedy="give one row as [{column: value}], and columns as polars.DataFrame({column: [values]}); "
        "a pandas table needs the package pyarrow",
    )


def load(
    registry: str | Path,
    model: str,
    version: str = Alias.CHAMPION,
    *,
    threads: int | None = None,
    provider: str = "cpu",
) -> Model:
    """A registered model, ready to answer: its files are compared with their checksums and its golden rows replayed.

    Args:
        registry: a folder, or any fsspec URL.
        version: a version's number, or an alias: champion, challenger, candidate.
        threads: of ONNX Runtime; None leaves the number to it.
        provider: cpu, cuda or tensorrt.

    Raises:
        RegistryError: there is no such model or version.
        BundleError: a file is altered or cannot be read, or the graph gives other answers than recorded.
        SettingsError: the provider is not available here.
    """
    with Registry(registry).fetched(model, version, verify=False) as folder:
        return Model(Predictor(folder, threads=threads, provider=provider))


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What a training came to.

    version: in the registry. folder: of the run. passed, reasons: what the gate said.
    """

    model: str
    version: str
    registry: str
    folder: Path
    validation_loss: float
    passed: bool
    reasons: tuple[str, ...]

    @property
    def report(self) -> Path:
        return self.folder / "bundle" / "report.html"

    def load(self) -> Model:
        """This version, champion or not."""
        return load(self.registry, self.model, self.version)


def train(*words: str, settings: Mapping[str, Any] | None = None, folder: str | Path | None = None) -> Trained:
    """Train a model in this process, as `python train.py WORDS` does: same settings, same report, same registry.

    Args:
        words: as on the command line: "+experiment=table", "model=mlp", "training.max_epochs=5".
        settings: further ones by their full key, with values as Python has them; nothing needs quoting:
            {"data.path": "Käufe (2).csv", "data.ignored": ["a", "b"]}.
        folder: the run's; None makes a new one under `outputs/`, as the command does.

    Raises:
        TidemillError: as the command ends with; the registry is as it was.
    """
    from tidemill import ending, libraries, pipeline, secrets

    given = [addable(word) for word in words]
    given += [addable(f"{key}={overrides.value(item)}") for key, item in (settings or {}).items()]
    command = shlex.join(["python", "train.py", *map(secrets.mask, given)])
    try:
        config = _composed(given)
        place = Path(folder) if folder else Path("outputs", config["name"], f"{datetime.now():%Y-%m-%d_%H-%M-%S-%f}")
        place.mkdir(parents=True, exist_ok=True)
        with libraries.shown(), libraries.kept_in(place):
            loss = pipeline.run(config, place, command)
    except Exception as error:
        if (mendable := ending.mendable(error)) is error:
            raise
        raise mendable from error
    version = json.loads((place / "result.json").read_bytes())["version"]
    name, registry = config["name"], config["registry"]["path"]
    gate = manifest.read(place / "bundle").results["gate"]
    return Trained(
        model=name,
        version=version,
        registry=registry,
        folder=place,
        validation_loss=loss,
        passed=gate["passed"],
        reasons=tuple(gate["reasons"]),
    )


def _composed(words: Sequence[str]) -> dict[str, Any]:
    """What `train.py` composes of the same words."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    if not CONF.is_dir():
        raise SettingsError(
            "Training reads its settings from conf/, which lies beside src/ in a checkout",
            observed=f"no folder {CONF}",
            remedy="install Tidemill from a checkout: ./scripts/setup.sh",
        )
    OmegaConf.register_new_resolver("stem", overrides.stem, replace=True)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(compose("config", list(words)), resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}
