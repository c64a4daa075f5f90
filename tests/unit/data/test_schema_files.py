"""Schemas in files: written, pinned, broken."""

from pathlib import Path

import polars as pl
import pytest
from infer_parts import refusal
from table_settings import settings_for

from tidemill.data import infer, schema_file
from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import SchemaError
from tidemill.settings import Kind


def test_schemas_survive_yaml(tmp_path: Path) -> None:
    schema = Schema(
        columns=(
            Column(name="no", kind=Kind.NUMERIC, decimal_comma=True, thousands=".", minimum=0.0, missing_allowed=False),
            Column(name="größe: 1", kind=Kind.CATEGORICAL, domain=("yes", "1"), missing_marks=("?", "null")),
            Column(name="2013", kind=Kind.TIMESTAMP, format="%d.%m.%Y", role=Role.TIME),
            Column(name="x\ny", kind=Kind.CATEGORICAL, role=Role.IGNORED, reason="empty: no row has a value"),
        ),
        time_is_input=True,
    )
    schema_file.write(schema, tmp_path / "s.yaml")
    assert schema_file.read(tmp_path / "s.yaml") == schema
    assert (tmp_path / "s.yaml").read_text().startswith("# The schema of a table")


def test_a_schema_names_the_columns_it_has() -> None:
    with pytest.raises(SchemaError, match="'z'; the table has x"):
        Schema(columns=(Column(name="x", kind=Kind.NUMERIC),))["z"]


def test_a_pinned_schema_is_taken_as_it_is(tmp_path: Path) -> None:
    frame = pl.DataFrame({"x": ["1", "2"] * 50, "y": [0, 1] * 50, "new": [1, 2] * 50})
    path = str(tmp_path / "s.yaml")
    pinned = Schema(columns=(Column(name="x", kind=Kind.CATEGORICAL), Column(name="y", kind=Kind.NUMERIC)))
    schema_file.write(pinned, path)
    schema = infer.infer(frame.lazy(), settings_for(schema=path, target="y"))
    assert (schema["x"].kind, schema["y"].role) == (Kind.CATEGORICAL, Role.TARGET)
    assert schema["new"].reason == "not in the pinned schema"
    assert "did you mean 'X'?" in refusal(frame.rename({"x": "X"}), schema=path)
    assert "At most one column has the role target" in refusal(
        frame, schema=_written(tmp_path, "columns: {x: {kind: numeric, role: target}, y: {kind: numeric}}"), target="y"
    )


def _written(folder: Path, text: str) -> str:
    (folder / "written.yaml").write_text(text)
    return str(folder / "written.yaml")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("columns: [", "must name a readable YAML file"),
        ("a: 1", "must list its columns"),
        ("[]", "must list its columns"),
        ("columns: {}", "must list its columns"),
        ("columns: {x: {kind: number}}", "needs a kind"),
        ("columns: {x: {role: feature}}", "needs a kind"),
        ("columns: {x: {kind: numeric, colour: red}}", "needs a kind"),
        ("columns: {x: {kind: numeric, minimum: low}}", "needs a kind"),
        ("columns: {x: {kind: categorical, domain: abc}}", "a list is needed"),
        ("columns: {x: null}", "needs a kind"),
        ("columns: {x: {kind: numeric, role: key}, y: {kind: numeric, role: key}}", "'x' and 'y'"),
    ],
)
def test_a_broken_schema_file_says_what_is_broken(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SchemaError, match=said):
        schema_file.read(_written(tmp_path, text))


def test_an_absent_schema_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="No such file"):
        schema_file.read(tmp_path / "none.yaml")
