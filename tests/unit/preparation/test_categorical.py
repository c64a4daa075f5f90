"""Categorical columns: codes 0 missing, 1 rare or unseen, then the vocabulary by frequency."""

import numpy as np
import polars as pl
from preparation_parts import CATEGORICAL, column, feature, fitted, own, prepare, raw_of, settings

from tidemill.data.schema import Column, Schema
from tidemill.preparation.fit import fit
from tidemill.settings import CategoricalSettings, FeatureOperation, Kind


def texts(*values: str) -> dict[str, np.ndarray]:
    return {"a": np.array(values, dtype=object)}


def test_codes_go_by_frequency_then_by_name() -> None:
    table = pl.DataFrame({"a": ["x", "b", "c", "c", None, ""]})
    preparation, prepared = prepare(table)
    assert prepared.categorical[:, 0].tolist() == [4, 3, 2, 2, 0, 0]
    assert preparation.cardinalities == (5,)
    assert preparation.run(texts("c", "C", "", "never", "b ")).categorical[:, 0].tolist() == [2, 1, 0, 1, 1]


def test_rare_categories_share_a_code() -> None:
    table = pl.DataFrame({"a": ["x"] * 3 + ["y"] * 2 + ["z"], "b": list("uvwxyz"), "c": list("uvwxyz")})
    columns = {"b": own(max_categories=2), "c": own(min_count=1, max_categories=1)}
    asked = settings(categorical=CategoricalSettings(min_count=2, max_categories=10), columns=columns)
    preparation, prepared = prepare(table, asked)
    assert preparation.categorical_names == ("a", "c")  # all of b is rare: one code, no feature
    assert prepared.categorical.T.tolist() == [[2, 2, 2, 3, 3, 1], [2, 1, 1, 1, 1, 1]]
    assert preparation.cardinalities == (4, 3)


def test_any_text_is_a_category_of_its_own() -> None:
    odd = [
        "é",
        "e\u0301",
        "日本",
        "🛫",
        " ",
        "a\nb",
        "a\tb",
        "x" * 10_000,
        "NaN",
        "null",
        "None",
        "\\",
        '"',
        "%",
        "\u200b",
    ]
    preparation, prepared = prepare(pl.DataFrame({"a": odd}))
    assert sorted(prepared.categorical[:, 0].tolist()) == list(range(2, 2 + len(odd)))
    assert preparation.run(texts("x" * 9_999, "É")).categorical[:, 0].tolist() == [1, 1]


def test_the_codes_do_not_depend_on_the_order_of_the_rows() -> None:
    table = pl.DataFrame({"a": list("abcdefgh") * 2})
    assert fitted(table).model == fitted(table.reverse()).model


def test_a_cross_has_a_vocabulary_of_its_own() -> None:
    table = pl.DataFrame({"a": ["x", "x", "y", "y", None, "z"], "b": ["u", "u", "u", "v", "v", ""]})
    asked = settings(
        features=[feature("a×b", FeatureOperation.CROSS, ["a", "b"])], columns={"a×b": own(max_categories=2)}
    )
    preparation, prepared = prepare(table, asked)
    assert preparation.categorical_names == ("a", "b", "a×b")
    assert column(preparation, prepared, "a×b").tolist() == [2, 2, 3, 1, 0, 0]
    later = preparation.run({"a": np.array(["x", "q", "q"], object), "b": np.array(["v", "u", ""], object)})
    assert column(preparation, later, "a×b").tolist() == [1, 1, 0]


def test_a_cross_cannot_take_one_pair_for_another() -> None:
    parts = ["a", "ab", "b", "bc", "a|b", "|", "\x1f", "a\x1f"]
    table = pl.DataFrame({"a": [one for one in parts for _ in parts], "b": parts * len(parts)})
    asked = settings(features=[feature("both", FeatureOperation.CROSS, ["a", "b"])])
    preparation, prepared = prepare(table, asked)
    assert sorted(column(preparation, prepared, "both")) == list(range(2, 2 + len(parts) ** 2))


def test_a_cross_without_frequent_pairs_still_tells_missing_from_rare() -> None:
    table = pl.DataFrame({"a": ["x", "y", None], "b": ["u", "v", "v"]})
    asked = settings(features=[feature("both", FeatureOperation.CROSS, ["a", "b"])], columns={"both": own(min_count=9)})
    preparation, prepared = prepare(table, asked)
    assert column(preparation, prepared, "both").tolist() == [1, 1, 0]


def test_codes_stay_below_the_cardinality_for_any_text() -> None:
    rng = np.random.default_rng(1)
    table = pl.DataFrame({"a": [chr(code) for code in rng.integers(97, 120, 500)]})
    preparation = fitted(table, settings(categorical=CATEGORICAL))
    hostile = ["".join(chr(c) for c in rng.integers(1, 0xD000, rng.integers(0, 9))) for _ in range(1000)]
    codes = preparation.run(texts(*hostile)).categorical
    assert codes.min() >= 0
    assert codes.max() < preparation.cardinalities[0]
    assert (preparation.run(raw_of(table)).categorical >= 2).all()


def test_the_graph_knows_marks_and_both_spellings() -> None:
    marked = Column(name="a", kind=Kind.CATEGORICAL, missing_marks=("?", "n/a"))
    numbers = Column(name="b", kind=Kind.CATEGORICAL, numeric_categories=True, missing_marks=("?",))
    table = pl.DataFrame({"a": ["x", "true", None], "b": ["3", "2.5", "-7"], "c": ["True", "TRUE", "true"]})
    wanted = settings(
        features=[
            feature("cross", FeatureOperation.CROSS, ["a", "b"]),
            feature("look", FeatureOperation.LOOKUP, ["b"], table={"3.0": 1.5, "2.5": 4.0}, default=9.0),
        ]
    )
    schema = Schema(columns=(marked, numbers, Column(name="c", kind=Kind.CATEGORICAL)))
    preparation = fit(table, schema, wanted)
    written = (
        ["x", "True", "TRUE", "?", "n/a", ""],
        ["3", "3.0", "-7.0", "?", "3.00", "2.5"],
        ["True", "true", "TRUE"] * 2,
    )
    got = preparation.run({name: np.array(values, object) for name, values in zip("abc", written, strict=True)})
    read = ["x", "true", "true", "", "", ""], ["3", "3", "-7", "", "never", "2.5"], ["True", "true", "TRUE"] * 2
    expected = preparation.run({name: np.array(values, object) for name, values in zip("abc", read, strict=True)})
    np.testing.assert_array_equal(got.categorical, expected.categorical)
    np.testing.assert_array_equal(got.numeric, expected.numeric)
    assert set(got.categorical[:, 2].tolist()) == {2, 3, 4}, "what training spelled in three ways stays three"
    assert got.categorical[3:, 0].tolist() == [0, 0, 0]
