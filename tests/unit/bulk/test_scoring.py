"""Whatever the format, a row's answers are those of the predictor, bit for bit."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from bulk_files import FORMATS, store

from small_bundle import Small
from tidemill.bulk import inputs, reading, scoring, unseen
from tidemill.bulk.scoring import Scorer
from tidemill.bundle.predictor import Predictor
from tidemill.data.raw import from_table
from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import SchemaError, SourceError
from tidemill.settings import Kind

REASON = "quarantined_because"


def scored(
    predictor: Predictor, path: Path, rows: int, keep: list[str] | tuple[Any, ...] = ()
) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    file = inputs.look(str(path), 0)
    settled = reading.settle([file], predictor.manifest.schema, keep, ["file", "row"])
    columns = [*(column.name for column in predictor.columns), *keep]
    scorer = Scorer(predictor, settled.kept)
    chunks = list(inputs.chunks(file, list(dict.fromkeys(columns)), settled.schemas[0], rows, 0))
    parts = [scorer(chunk) for chunk in chunks]
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    return pl.concat([part.answers for part in parts]), pl.concat([part.quarantined for part in parts]), len(parts)


@pytest.fixture(scope="session")
def expected(small: Small) -> tuple[Any, ...]:
    """By name of the part's column; of the whole table at once."""
    predictor = Predictor(small.folder, threads=1)
    answers = predictor.predict(from_table(small.table, predictor.columns))
    if not small.target.classes:
        return predictor, answers
    shares = {f"probability_{name}": answers["probabilities"][:, i] for i, name in enumerate(small.target.classes)}
    return predictor, {"label": answers["label"], **shares}


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_gives_the_predictors_own_answers(
    small: Small, expected: tuple[Any, ...], tmp_path: Path, ending: str
) -> None:
    predictor, answers = expected
    found, quarantined, parts = scored(predictor, store(small.table, tmp_path / f"table.{ending}"), 150)
    assert parts == 3 and not quarantined.height
    assert found.columns == ["file", "row", *answers]
    assert found["row"].to_list() == list(range(400)) and found["file"].unique().item().endswith(f"table.{ending}")
    for name, values in answers.items():
        assert found.schema[name] == (pl.String if name == "label" else pl.Float32)
        np.testing.assert_array_equal(found[name].to_numpy(), values)


def test_a_single_row_behind_full_runs_is_not_run_alone(
    small: Small, expected: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Matrix products of one row are computed in another order, in networks wide enough to show it."""
    monkeypatch.setattr("tidemill.bundle.predictor.ROWS_AT_ONCE", 399)
    predictor, answers = expected
    sizes, answering = [], predictor.predict

    def predict(raw: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        sizes.append(len(raw["size"]))
        return answering(raw)

    monkeypatch.setattr(predictor, "predict", predict)
    found, _, _ = scored(predictor, store(small.table, tmp_path / "table.parquet"), 1000)
    assert sizes == [200, 200]
    for name, values in answers.items():
        np.testing.assert_array_equal(found[name].to_numpy(), values)


@pytest.mark.parametrize("ending", ["parquet", "arrow", "arrows", "csv", "jsonl"])
def test_a_file_without_rows_gives_a_part_without_rows(
    small: Small, expected: tuple[Any, ...], tmp_path: Path, ending: str
) -> None:
    predictor, answers = expected
    path = tmp_path / f"none.{ending}"
    store(small.table.clear(), path)
    if ending == "jsonl":
        path.write_text("\n")  # no byte at all is refused as no table
    found, quarantined, parts = scored(predictor, path, 10)
    assert parts == 1 and found.height == quarantined.height == 0
    full, _, _ = scored(predictor, store(small.table, tmp_path / "some.parquet"), 1000)
    assert found.schema == full.schema and list(answers) == full.columns[2:]


def test_kept_columns_come_along_even_past_rows_that_do_not(
    small: Small, expected: tuple[Any, ...], tmp_path: Path
) -> None:
    predictor, _ = expected
    table = small.table.head(5).with_columns(
        pl.Series("size", ["1", "x", "3", "4", "5"]),
        pl.Series("open", [True, True, None, True, True]),
        id=pl.arange(7, 12),
    )
    found, quarantined, _ = scored(predictor, store(table, tmp_path / "table.parquet"), 3, ["id", "city"])
    assert found.columns[:4] == ["file", "row", "id", "city"]
    assert found["row"].to_list() == [0, 3, 4] and found["id"].to_list() == [7, 10, 11]
    assert found["city"].to_list() == [table["city"][row] for row in (0, 3, 4)]
    assert quarantined["row"].to_list() == [1, 2] and quarantined["id"].to_list() == ["8", "9"]
    assert quarantined[REASON].to_list() == ["size: 'x' cannot be read as numeric", "open: missing"]
    assert quarantined["size"].to_list() == ["x", "3"]


def test_lines_that_are_no_json_are_set_aside_and_the_others_keep_their_numbers(
    small: Small, expected: tuple[Any, ...], tmp_path: Path
) -> None:
    predictor, answers = expected
    lines = small.table.head(6).write_ndjson().encode().splitlines()
    lines[1], lines[4] = b'{"size": ', b"[1, 2]"
    path = tmp_path / "table.jsonl"
    path.write_bytes(b"\n\n".join(lines))
    found, quarantined, parts = scored(predictor, path, 2, ["city"])
    assert parts == 3 and found["row"].to_list() == [0, 2, 3, 5] and quarantined["row"].to_list() == [1, 4]
    np.testing.assert_array_equal(found.to_series(-1).to_numpy(), list(answers.values())[-1][[0, 2, 3, 5]])
    assert "not JSON" in quarantined[REASON][0] and "not a JSON object: '[1, 2]'" in quarantined[REASON][1]


def test_a_line_with_several_records_is_set_aside(small: Small, expected: tuple[Any, ...], tmp_path: Path) -> None:
    lines = small.table.head(3).write_ndjson().splitlines()
    path = tmp_path / "table.jsonl"
    path.write_text(lines[0] + "\n" + lines[1] + lines[2] + "\n")
    _, quarantined, _ = scored(expected[0], path, 10)
    assert quarantined["row"].to_list() == [1] and "Extra data" in quarantined[REASON][0]


def test_keys_that_later_lines_leave_out_are_missing_values(
    small: Small, expected: tuple[Any, ...], tmp_path: Path
) -> None:
    predictor, _ = expected
    path = tmp_path / "table.jsonl"
    path.write_text(small.table.head(2).write_ndjson() + '{"open": false}\n{"open": true}\n{}\n')
    found, quarantined, _ = scored(predictor, path, 2, ["city"])
    assert found["row"].to_list() == [0, 1, 2, 3] and found["city"].to_list()[2:] == [None, None]
    assert quarantined[REASON].to_list() == ["open: missing"]


@pytest.mark.parametrize(
    "texts",
    [
        ["2013-06-30T14:05:00+02:00", "2013-06-30T14:05:00.5+0200"],
        ["2013-06-30 12:05:00", "2013-06-30 12:05:00.5"],
        ["2013-06-30 12:05", "2013-06-30 12:06"],
        ["2013-06-30T12:05Z", "2013-06-30T14:06+02:00"],
        ["2013-06-30", None],
    ],
)
def test_timestamps_as_text_are_read_where_training_saw_timestamps(
    small: Small, expected: tuple[Any, ...], tmp_path: Path, texts: list[str | None] | list[str]
) -> None:
    predictor, _ = expected
    table = small.table.head(2).with_columns(at=pl.Series(texts, dtype=pl.String))
    found, quarantined, _ = scored(predictor, store(table, tmp_path / "table.csv"), 10)
    moments = [
        None if text is None else pl.Series([text]).str.to_datetime(time_unit="us", time_zone="UTC", strict=False)[0]
        for text in texts
    ]
    if "T14:05" in texts[0]:
        moments = [moments[0], moments[0].replace(microsecond=500_000)]
    typed = small.table.head(2).with_columns(at=pl.Series(moments, dtype=pl.Datetime("us", "UTC")))
    same, _, _ = scored(predictor, store(typed, tmp_path / "typed.parquet"), 10)
    assert quarantined.height == 0 and found.drop("file").equals(same.drop("file"))


def test_a_moment_in_another_notation_than_the_first_rows_is_set_aside(
    small: Small, expected: tuple[Any, ...], tmp_path: Path
) -> None:
    table = small.table.head(3).with_columns(at=pl.Series(["2013-06-30", "2013-07-01", "1.7.2013"]))
    _, quarantined, _ = scored(expected[0], store(table, tmp_path / "table.csv"), 10)
    assert quarantined[REASON].to_list() == ["at: '1.7.2013' cannot be read as timestamp"]


def test_what_breaks_in_the_middle_names_file_and_row(
    small: Small, expected: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store(small.table, tmp_path / "table.csv")
    path.write_text(path.read_text() + "1,2,3,4,5,6,7,8,9,10,11,12\n")
    with pytest.raises(
        SourceError, match=r"more fields.* Got: line 402 of .*table\.csv has 12 fields.* quotation marks\)\.$"
    ):
        scored(expected[0], path, 100)
    lines = small.table.head(4).write_ndjson().splitlines()
    nested = tmp_path / "nested.jsonl"
    nested.write_text(
        "\n".join([*lines, lines[0].replace('"open":', '"size": [1], "open":').replace('"size":', '"was":', 1)])
    )
    with pytest.raises(SourceError, match=r"nested\.jsonl: failed to determine supertype"):
        scored(expected[0], nested, 4)
    monkeypatch.setattr(inputs, "HEAD", 4)
    with pytest.raises(SchemaError, match=r"nested\.jsonl, rows 4 and after: column 'size' of type List"):
        scored(expected[0], nested, 4)


def test_the_key_is_kept_by_default_if_every_file_has_it(small: Small, tmp_path: Path) -> None:
    key = Column(name="id", kind=Kind.CATEGORICAL, role=Role.KEY)
    schema = Schema(columns=(key, *small.schema.columns))
    with_id = small.table.with_columns(id=pl.arange(400))
    paths = [store(with_id, tmp_path / "a.parquet"), store(with_id.cast({"id": pl.String}), tmp_path / "b.csv")]

    def kept(paths: list[Path], keep: list[Any] | None = None) -> dict[str, Any]:
        looked = (inputs.look(str(path), number) for number, path in enumerate(paths))
        settled = reading.settle(looked, schema, keep, ["label"])
        assert [file.head.height for file in settled.files] == [0] * len(paths)
        return settled.kept

    assert kept(paths[:1]) == {"id": pl.Int64} and kept(paths) == {"id": pl.String} and kept(paths, []) == {}
    assert kept([*paths, store(small.table, tmp_path / "c.csv")]) == {}
    assert kept([store(with_id, tmp_path / "d.jsonl")]) == {"id": pl.String}


def test_what_training_never_saw_is_counted_and_told_once_it_is_most_of_a_column(small: Small, tmp_path: Path) -> None:
    predictor = Predictor(small.folder, threads=1)
    table = small.table.with_columns(city=pl.when(pl.col("city") != "").then(pl.lit("Stadt ") + pl.col("city")))
    found = {}
    for name, stored in (("same", small.table), ("other", table)):
        file = inputs.look(str(store(stored, tmp_path / f"{name}.parquet")), 0)
        settled = reading.settle([file], predictor.manifest.schema, (), ["file", "row"])
        scorer = Scorer(predictor, settled.kept)
        total = {}
        for chunk in inputs.chunks(file, [one.name for one in predictor.columns], settled.schemas[0], 150, 0):
            total = unseen.together(total, scorer(chunk).unseen)
        found[name] = list(unseen.warnings(total, scorer.references)), total["city"]
    assert found["same"][0] == [] and found["same"][1].unseen == 0
    (warning,), city = found["other"]
    assert city.unseen == city.present == found["same"][1].present
    assert warning.startswith("warning: 100% of the values of 'city' were never seen in training, like 'Stadt ")
    assert "The model knows 3: 'New York', 'Zürich', '東京'." in warning or "The model knows 3: " in warning


@pytest.mark.slow
def test_a_small_file_of_one_long_text_a_thousand_times_is_refused(small: Small, tmp_path: Path) -> None:
    predictor = Predictor(small.folder)
    long = pl.concat([small.table.head(1)] * 4000).with_columns(city=pl.lit("a" * 2**19))
    path = tmp_path / "long.parquet"
    long.write_parquet(path)
    assert path.stat().st_size < 2**21
    with pytest.raises(SourceError, match=rf"at most {scoring.TEXTS} bytes, written out.*Got: .*in 4000 rows"):
        scored(predictor, path, 4000)
