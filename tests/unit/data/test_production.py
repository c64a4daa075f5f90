"""The source `production`: a base table and labelled records, as one table that reads like the base alone."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from table_settings import settings_for

from tidemill.data import dataset, infer, schema_file, sources, typed
from tidemill.errors import QualityError, SettingsError, SourceError

START = datetime(2013, 1, 1)


def table(days: range, **changes: Any) -> pl.DataFrame:
    """One row a day, every kind of column."""
    return pl.DataFrame(
        {
            "id": [f"r{day}" for day in days],
            "at": [START + timedelta(days=day) for day in days],
            "size": [float(day) if day % 7 else None for day in days],
            "city": ["東京" if day % 3 else "Zürich" for day in days],
            "open": [day % 2 == 0 for day in days],
            "bought": ["yes" if day % 5 < 2 else "no" for day in days],
            **{name: [value] * len(days) for name, value in changes.items()},
        }
    )


def recorded(days: range, **changes: Any) -> pl.DataFrame:
    """As the ledger gives them: by kind, whatever the base table stores."""
    return table(days, **changes).with_columns(pl.col("at").dt.replace_time_zone("UTC"))


def production(
    folder: Path, base: pl.DataFrame, records: pl.DataFrame | None, *, text: bool = False, **changes: Any
) -> Any:
    path = folder / ("base.csv" if text else "base.parquet")
    base.write_csv(path) if text else base.write_parquet(path)
    options = {"base": "files", **changes.pop("options", {})}
    if records is not None:
        records.write_parquet(folder / "records.parquet")
        options["records"] = str(folder / "records.parquet")
    values = {"key": "id", "time": "at", "target": "bought", **changes}
    return settings_for(path, source="production", options=options, **values)


def opened(settings: Any) -> pl.DataFrame:
    """The typed table."""
    frame = sources.open(settings)
    read = typed.apply(frame, infer.infer(frame, settings))
    assert read.quarantined.is_empty(), read.quarantined
    return read.table


@pytest.mark.parametrize("text", [False, True])
def test_records_continue_the_base_table_whatever_it_stores(tmp_path: Path, text: bool) -> None:
    both = opened(production(tmp_path, table(range(60)), recorded(range(60, 100)), text=text))
    (tmp_path / "whole").mkdir()
    whole = opened(production(tmp_path / "whole", table(range(100)), None, text=text))
    assert_frame_equal(both, whole)


def test_notations_of_a_text_base_are_kept(tmp_path: Path) -> None:
    base = table(range(60)).with_columns(
        pl.col("at").dt.strftime("%d.%m.%Y %H:%M"), pl.col("size").cast(pl.String).str.replace(".", ",", literal=True)
    )
    base = base.with_columns(pl.when(pl.col("size").is_null()).then(pl.lit("?")).otherwise("size").alias("size"))
    both = opened(production(tmp_path, base, recorded(range(60, 100)), text=True))
    assert both["at"].to_list() == [(START + timedelta(days=day)).replace(tzinfo=UTC) for day in range(100)]
    assert both["size"].to_list() == table(range(100))["size"].to_list()


def test_a_pinned_schema_says_how_the_base_is_written(tmp_path: Path) -> None:
    settings = production(tmp_path, table(range(60)), None, text=True, kinds={"at": "timestamp"})
    schema_file.write(infer.infer(sources.open(settings), settings), tmp_path / "schema.yaml")
    settings = production(
        tmp_path, table(range(60)), recorded(range(60, 70)), text=True, schema=str(tmp_path / "schema.yaml")
    )
    assert opened(settings)["at"].max() == datetime(2013, 3, 11, tzinfo=UTC)


def test_epochs_and_whole_numbers(tmp_path: Path) -> None:
    base = table(range(60)).with_columns(pl.col("at").dt.epoch("s"), pl.col("size").cast(pl.Int32))
    records = recorded(range(60, 100)).with_columns(pl.col("size") + 0.5)
    for text in (False, True):
        settings = production(
            tmp_path, base, records, text=text, kinds={"at": "timestamp"}, options={"window_days": 50}
        )
        both = opened(settings)
        assert both["at"].min() == (START + timedelta(days=49)).replace(tzinfo=UTC)
        assert both["size"].max() == 99.5, "the base's whole numbers do not cut what production has"


def test_the_base_is_cut_and_production_wins(tmp_path: Path) -> None:
    records = recorded(range(25, 40), city="Bern")
    found = opened(production(tmp_path, table(range(60)), records, options={"until": "2013-01-31T00:00:00Z"}))
    assert found["id"].to_list() == [f"r{day}" for day in (*range(25), *range(25, 40))]
    assert set(found.filter(pl.col("city") == "Bern")["id"]) == {f"r{day}" for day in range(25, 40)}


def test_of_several_answers_the_latest_counts_and_records_without_a_key_all_do(tmp_path: Path) -> None:
    again = recorded(range(70, 72)).with_columns(pl.lit("r69").alias("id"))
    unnamed = recorded(range(72, 75)).with_columns(pl.lit(None, pl.String).alias("id"))
    records = pl.concat([again, recorded(range(65, 70)), unnamed])
    found = opened(production(tmp_path, table(range(60)), records))
    assert found.height == 60 + 5 + 3
    assert found.filter(pl.col("id") == "r69")["at"].to_list() == [datetime(2013, 3, 13, tzinfo=UTC)]


def test_columns_that_production_lacks_are_missing_and_its_weights_are_one(tmp_path: Path) -> None:
    base = table(range(60), w=2.0)
    found = opened(production(tmp_path, base, recorded(range(60, 70)).drop("open", "size"), weight="w"))
    assert found["w"].to_list() == [2.0] * 60 + [1.0] * 10
    assert found["open"].tail(10).null_count() == 10 and found["size"].tail(10).null_count() == 10


def test_age_halves_a_weight_at_each_half_life(tmp_path: Path) -> None:
    aged = {"half_life_days": 10, "window_days": 20}
    found = opened(production(tmp_path, table(range(60)), recorded(range(60, 100)), weight="age_weight", options=aged))
    assert found.height == 21
    assert found["age_weight"].to_list() == pytest.approx([0.5 ** (age / 10) for age in range(20, -1, -1)])
    own = production(tmp_path, table(range(60), w=3.0), recorded(range(60, 100)), weight="w", options=aged)
    assert opened(own)["w"][[0, 10, 20]].to_list() == pytest.approx([0.25, 0.5, 1.0]), "records weigh 1 of themselves"


def test_a_whole_data_set_comes_out_of_it(tmp_path: Path) -> None:
    split = {"method": "time", "validation_from": "2013-05-01", "test_from": "2013-06-01"}
    split |= {"validation": 0.2, "test": 0.2, "seed": 0, "absent_classes": "stop"}
    settings = production(tmp_path, table(range(100)), recorded(range(100, 200)), split=split)
    data = dataset.load(settings, tmp_path)
    assert (data.splits.train.height, data.splits.validation.height, data.splits.test.rows) == (120, 31, 49)


def test_late_numbers_of_a_text_base_are_looked_at_in_quarters(tmp_path: Path) -> None:
    """A repair is known to be done sooner where it cost little: as text, each number would be a class of its own."""
    days = range(400)
    base = table(days).with_columns(cost=pl.Series([float(day * 37 % 100) + day / 1000 for day in days]))
    base = base.with_columns(known=pl.col("at") + pl.duration(days=pl.col("cost").floor()))
    asked = {"label_time": "known", "labels_before": (START + timedelta(days=400)).isoformat(), "mature_share": 0.95}
    found = opened(production(tmp_path, base, None, text=True, target="cost", options=asked))
    assert 300 <= found.height <= 303, "those older than 95% of the slowest quarter take, 98 days, not of all: 95"


def late(days: range, wait: int = 20) -> pl.DataFrame:
    """ "yes" is known at once, "no" after some days."""
    known = pl.when(pl.col("bought") == "yes").then(pl.col("at")).otherwise(pl.col("at") + pl.duration(days=wait))
    return table(days).with_columns(known=known)


def test_labels_that_were_not_known_by_then_are_not_read(tmp_path: Path) -> None:
    base, until = late(range(100)), START + timedelta(days=80)
    asked = {"label_time": "known", "labels_before": until.isoformat()}
    found = opened(production(tmp_path, base, None, options=asked))
    assert "known" not in found.columns
    assert found.height == base.filter(pl.col("known") < until).height
    assert set(found["bought"][-8:]) == {"yes"}, "the young ones that are known are no sample"
    mature = opened(production(tmp_path, base, None, options={**asked, "mature_share": 0.95}))
    assert mature.height == 60 and set(mature["bought"][-8:]) == {"yes", "no"}
    cut = opened(production(tmp_path, base, None, options={**asked, "mature_share": 0.95, "until": "2013-02-01"}))
    assert cut.height == 31, "an end that is given is not found out"
    never = base.with_columns(known=pl.when(pl.col("id") != "r0").then("known"))
    assert opened(production(tmp_path, never, None, options={"label_time": "known"})).height == 99


def test_a_base_whose_labels_still_come_is_refused(tmp_path: Path) -> None:
    asked = {"label_time": "known", "labels_before": "2013-03-01", "mature_share": 0.95}
    with pytest.raises(QualityError, match=r"all labels that came are 'yes'.*data\.options\.mature_share"):
        opened(production(tmp_path, late(range(100), wait=90), None, options=asked))


def refusal(settings: Any) -> str:
    with pytest.raises((SettingsError, SourceError)) as caught:
        opened(settings)
    return str(caught.value)


def test_what_does_not_fit_is_refused_by_name(tmp_path: Path) -> None:
    base, records = table(range(60)), recorded(range(60, 70))

    def said(with_records: pl.DataFrame | None = records, **changes: Any) -> str:
        return refusal(production(tmp_path, base, with_records, **changes))

    assert "data.options.base = None" in said(options={"base": None})
    assert "data.options.base = 'production'" in said(options={"base": "production"})
    assert "no/such'; the sources" in said(options={"base": "no/such"}) or "'no/such'" in said(
        options={"base": "no/such"}
    )
    assert "data.test_path=null" in said(test_path="test.csv")
    assert "data.validation_path=null" in said(validation_path="validation.csv")
    assert "data.options.until" in said(options={"until": "tomorrow"})
    assert "data.options.window_day" in said(options={"window_day": 3}), "the base source refuses what it does not know"
    assert "data.time = None" in said(time=None, options={"until": "2013-02-01"})
    assert "data.time = 'city', which is categorical" in said(time="city", options={"window_days": 3})
    assert "'att'; the table has id, at" in said(time="att", options={"half_life_days": 3}, weight="age_weight")
    assert "set data.weight=age_weight" in said(options={"half_life_days": 3})
    assert "'knwon'; the table has id" in said(options={"label_time": "knwon"})
    assert "'city' is categorical" in said(options={"label_time": "city"})
    assert "data.target = None" in said(target=None, options={"label_time": "at", "mature_share": 0.9})
    assert "did you mean" in said(options={"records": str(tmp_path / "record.parquet")}, with_records=None)
    assert "has 'towns'; the base table has id" in said(records.rename({"city": "towns"}))
    assert "no column 'bought'" in said(records.drop("bought"))
    assert "10 of the records' values of 'size' cannot be read as numeric" in said(
        records.with_columns(size=pl.lit("big"))
    )
    (tmp_path / "text.parquet").write_text("not a table")
    assert "cannot be read as Parquet" in said(options={"records": str(tmp_path / "text.parquet")}, with_records=None)
