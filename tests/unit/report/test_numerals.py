import math

import pytest

from tidemill.evaluation.results import Metric
from tidemill.report.markup import Html, table, tag
from tidemill.report.numerals import interval, number, share, signed, value_of, with_interval
from tidemill.report.style import label


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.123456, "0.1235"),
        (1234567.8, "1,234,568"),
        (-0.5, "−0.5"),
        (0.0, "0"),
        (1.2e-9, "1.2e-09"),
        (-3e20, "−3e+20"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (math.nan, "–"),
        (None, "–"),
        (3.0, "3"),
    ],
)
def test_numbers_have_the_digits_they_mean(value: float | None, text: str) -> None:
    assert number(value) == text


def metric(value: float, lower: float | None, upper: float | None) -> Metric:
    return Metric(name="m", value=value, lower=lower, upper=upper, higher_is_better=True)


def test_the_interval_decides_the_digits() -> None:
    assert with_interval(metric(0.72013, 0.7178, 0.7224)) == "0.7201 (0.7178 to 0.7224)"
    assert with_interval(metric(48_212.3, 47_900, 48_520)) == "48,212 (47,900 to 48,520)"
    assert with_interval(metric(0.72013, None, None)) == "0.7201"
    assert with_interval(None) == "–"
    assert value_of(metric(1.5, 1.5, 1.5)) == "1.5000"
    assert interval(0.0, 0.0) == "0.0000 to 0.0000"
    assert interval(math.nan, 1.0) == ""
    assert signed(0.012, 0.01, 0.02) == "+0.0120"
    assert signed(-0.012, -0.02, math.inf) == "−0.012"


def test_shares() -> None:
    assert [share(value) for value in (0, 0.0001, 0.5, 1, None)] == ["0.0 %", "< 0.1 %", "50.0 %", "100.0 %", "–"]


def test_only_markup_passes_unescaped() -> None:
    assert tag("p", "<b>", Html("<i>"), None, class_='"x"') == '<p class="&quot;x&quot;">&lt;b&gt;<i></p>'
    assert '<td class="number">1</td>' in table(("<a>", "b"), [("&", 1)], numbers=(1,))
    assert "&lt;a&gt;" in table(("<a>",), [])


def test_labels_are_one_short_line_without_tags() -> None:
    assert label("a\n<b>c</b>") == "a &lt;b&gt;c&lt;/b&gt;"
    assert label("Ring \"A\" & 'B'") == "Ring \"A\" &amp; 'B'"
    assert label("") == "(empty)"
    assert label("x" * 99, 10) == "x" * 9 + "…"
