"""Settings that do not fit the schema are named before anything is computed."""

import polars as pl
import pytest
from preparation_parts import feature, fitted, numeric, own, schema_of, settings

from tidemill.data.schema import Column, Role, Schema
from tidemill.errors import PreparationError
from tidemill.preparation.fit import fit
from tidemill.settings import FeatureOperation, Kind, PreparationSettings

TABLE = pl.DataFrame(
    {
        "age": [1.0, 2.0],
        "fare": [3.0, 4.0],
        "city": ["x", "y"],
        "left": pl.Series([0, 1]).cast(pl.Datetime("us")),
        "known": [True, False],
    }
)
RATIO, LOOKUP = FeatureOperation.RATIO, FeatureOperation.LOOKUP
CROSS, DIFFERENCE = FeatureOperation.CROSS, FeatureOperation.DIFFERENCE


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        (settings(numeric=numeric(log=["agee"])), r"preparation.numeric.log: 'agee' \(did you mean 'age'\?\)"),
        (settings(numeric=numeric(log=["city"])), "is for columns of kind numeric. Got: 'city' is categorical"),
        (settings(columns={"qqq": own(clip=1.0)}), "preparation.columns: 'qqq'. Remedy: name one of age, fare"),
        (settings(columns={"city": own(clip=1.0)}), "preparation.columns.city.clip is for columns of kind numeric"),
        (settings(columns={"age": own(min_count=2)}), "preparation.columns.age.min_count is for columns of kind categ"),
        (settings(columns={"left": own(log=True)}), "Got: 'left' is timestamp"),
        (settings(features=[feature("age", RATIO, ["age", "fare"])]), "'age', which is empty or taken"),
        (settings(features=[feature("", RATIO, ["age", "fare"])]), "'', which is empty or taken"),
        (settings(features=[feature("r", RATIO, ["age", "fare"])] * 2), "'r', which is empty or taken"),
        (settings(features=[feature("r", RATIO, ["age", "fair"])]), r"'fair' \(did you mean 'fare'\?\)"),
        (settings(features=[feature("r", RATIO, ["age", "city"])]), "numeric for this ratio. Got: 'city'"),
        (settings(features=[feature("r", DIFFERENCE, ["left", "age"])]), "timestamp for this difference. Got: 'age'"),
        (settings(features=[feature("r", DIFFERENCE, ["age", "left"])]), "numeric for this difference. Got: 'left'"),
        (settings(features=[feature("r", CROSS, ["city", "age"])]), "categorical for this cross. Got: 'age'"),
        (settings(features=[feature("r", LOOKUP, ["known"])]), "categorical for this lookup. Got: 'known' is boolean"),
    ],
)
def test_what_does_not_fit_is_named(asked: PreparationSettings, text: str) -> None:
    with pytest.raises(PreparationError, match=text):
        fitted(TABLE, asked)


def test_a_derived_feature_is_made_of_raw_columns() -> None:
    features = [feature("r", RATIO, ["age", "fare"]), feature("s", RATIO, ["r", "fare"])]
    with pytest.raises(PreparationError, match=r"preparation.features.s.columns: 'r'"):
        fitted(TABLE, settings(features=features))


@pytest.mark.parametrize("name", ["numeric", "categorical", ""])
def test_a_column_may_not_be_named_like_an_output(name: str) -> None:
    with pytest.raises(PreparationError, match=f"a column named '{name}'. Remedy: rename the column"):
        fitted(pl.DataFrame({name: [1.0, 2.0]}))


def test_two_features_of_one_name_are_told() -> None:
    with pytest.raises(PreparationError, match=r"'a \(missing\)' comes from two columns"):
        fitted(pl.DataFrame({"a": [1.0, 2.0, None], "a (missing)": [1.0, 2.0, 3.0]}))


@pytest.mark.parametrize("table", [pl.DataFrame({"a": [1.0, 1.0], "b": ["x", "x"]}), TABLE.clear(), TABLE.head(1)])
def test_a_table_where_nothing_varies_cannot_be_prepared(table: pl.DataFrame) -> None:
    with pytest.raises(PreparationError, match=r"at least one input that varies in the training split. Got: [25]"):
        fitted(table)


def test_a_schema_without_features_cannot_be_prepared() -> None:
    schema = Schema(columns=(Column(name="age", kind=Kind.NUMERIC, role=Role.TARGET),))
    with pytest.raises(PreparationError, match=r"0 input columns \(none\) over 2 training rows"):
        fit(TABLE, schema, settings())


def test_columns_of_other_roles_are_not_read() -> None:
    columns = {column.name: column for column in schema_of(TABLE).columns}
    schema = Schema(
        columns=(columns["age"], Column(name="fare", kind=Kind.NUMERIC, role=Role.TARGET), columns["city"]),
    )
    assert [one.name for one in fit(TABLE, schema, settings()).inputs] == ["age", "city"]
    with pytest.raises(PreparationError, match=r"preparation.numeric.log: 'fare'"):
        fit(TABLE, schema, settings(numeric=numeric(log=["fare"])))
