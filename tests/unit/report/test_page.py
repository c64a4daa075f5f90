import json
import re
import time
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import polars as pl
import pytest

from tidemill.bundle.registry.gate import Verdict
from tidemill.data.checks.findings import Finding, Severity
from tidemill.data.profiles.profile import profile
from tidemill.data.schema import Column, Role, Schema
from tidemill.data.target import Target
from tidemill.evaluation.results import Answered, Baseline, Comparison, Evaluation, Importance, Metric, Slice, Standing
from tidemill.report import gallery, page
from tidemill.report.content import Calibration, DataContent, ReportContent, Reproduction, ResultsContent, SplitCounts
from tidemill.report.standing import advice
from tidemill.settings import Kind, Objective

HOSTILE = '</script><script>alert("x")</script><b>&amp;\n'
NAMES = {
    Objective.BINARY: ("auroc", "log_loss", "ece"),
    Objective.MULTICLASS: ("accuracy", "log_loss", "ece"),
    Objective.REGRESSION: ("rmse", "r2"),
}


def example(objective: Objective, *, rows: int = 400, columns: int = 3, name: str = "a") -> ReportContent:
    """A run on random rows, with every part there is."""
    rng = np.random.default_rng(0)
    classes = {Objective.BINARY: ("no", "yes"), Objective.MULTICLASS: ("a", "b", HOSTILE)}.get(objective, ())
    labels = rng.integers(0, len(classes), rows) if classes else rng.normal(size=rows)
    if classes:
        scores = rng.normal(size=(rows, len(classes))) + 2 * np.eye(len(classes))[labels.astype(int)]
        probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        answers: dict[str, np.ndarray] = {"probabilities": probabilities.astype(np.float32)}
    else:
        value = (labels + rng.normal(size=rows)).astype(np.float32)
        answers = {"value": value, "lower": value - 1, "upper": value + 1}
    table = pl.DataFrame({f"{name}{i}": rng.normal(size=50) for i in range(columns)}).with_columns(
        pl.Series("city", ["Zürich", "東京", None, HOSTILE, ""] * 10),
        pl.Series("paid", [True, False, None, True, False] * 10),
        pl.datetime_range(pl.datetime(2020, 1, 1), pl.datetime(2020, 2, 19), "1d", eager=True).alias("seen"),
    )
    kinds = {"city": Kind.CATEGORICAL, "paid": Kind.BOOLEAN, "seen": Kind.TIMESTAMP}
    schema = Schema(columns=tuple(Column(name=c, kind=kinds.get(c, Kind.NUMERIC)) for c in table.columns))
    metrics = tuple(Metric(name=n, value=0.7, lower=0.68, upper=0.72, higher_is_better=True) for n in NAMES[objective])
    compared = Comparison(loss="log_loss", difference=-0.1, lower=-0.2, upper=-0.05, level=0.95, rows=rows)
    return ReportContent(
        name="mill",
        data=DataContent(
            source="table.csv",
            schema=Schema(columns=(*schema.columns, Column(name="answer", kind=Kind.NUMERIC, role=Role.TARGET))),
            target=Target(name="answer", objective=objective, classes=classes),
            findings=[
                Finding(check="leak", severity=s, column=HOSTILE, message=HOSTILE, rows=3, share=0.1, remedy="drop it")
                for s in Severity
            ],
            split=SplitCounts(method="random", rows={"train": 50, "validation": 20, "test": rows}, quarantined=2),
            profile=profile(table, schema),
        ),
        history=[
            {"epoch": i, "train_loss": 1 / i, "validation_loss": 1 / i + 0.1, "learning_rate": 0.1, "seconds": 1.0}
            for i in range(1, 6)
        ],
        test=ResultsContent(
            answered=Answered(objective=objective, labels=labels, answers=answers),
            evaluation=Evaluation(
                objective=objective,
                rows=rows,
                metrics=metrics,
                slices=(Slice(column=HOSTILE, value="東京", rows=9, metrics=metrics),),
                baselines=(Baseline(name="trivial", metrics=metrics, comparison=compared),),
                importance=(Importance(column=HOSTILE, increase=0.1, lower=0.05, upper=0.2),),
            ),
            level=0.95,
            calibration=Calibration(
                measures={"log_loss": (0.5, 0.4)}, temperature=1.3 if classes else None, coverage=0.9
            ),
        ),
        parity={"rows": rows, "largest_difference": 3e-7, "batches": "1, 2"},
        verdict=Verdict(passed=False, reasons=(HOSTILE,), comparison=None),
        reproduction=Reproduction(
            created="2026-01-02 03:04 UTC",
            command="python train.py +experiment=mill",
            settings={"name": "mill", "note": HOSTILE},
            versions={"torch": "2.13.0"},
        ),
    )


def judged(content: ReportContent, evaluation: Evaluation) -> ReportContent:
    return replace(content, test=replace(content.test, evaluation=evaluation))


def bare(content: ReportContent) -> ReportContent:
    """The least that a run leaves: no intervals, no parts that a setting can switch off."""
    metrics = tuple(replace(metric, lower=None, upper=None) for metric in content.test.evaluation.metrics)
    evaluation = replace(content.test.evaluation, metrics=metrics, slices=(), baselines=(), importance=())
    answers = {name: answer for name, answer in content.test.answered.answers.items() if name not in ("lower", "upper")}
    answered = replace(content.test.answered, answers=answers)
    return replace(
        content,
        data=replace(content.data, findings=[], profile={}),
        history=[],
        test=replace(content.test, evaluation=evaluation, answered=answered, calibration=None),
        parity={},
        verdict=None,
    )


class Reader(HTMLParser):
    """Elements by name, the text, the scripts, and whether every element that opens also closes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append((tag, dict(attrs)))
        if tag not in ("meta", "wbr"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)
        elif self.open and self.open[-1] != "style":
            self.texts.append(data)


def read(content: ReportContent) -> Reader:
    return Reader(page.render(content, gallery.figures(content)))


@pytest.mark.parametrize("objective", NAMES)
def test_the_whole_page_is_well_formed_and_harmless(objective: Objective) -> None:
    reader = read(example(objective))
    assert reader.open == []
    assert not any("alert" in script and "application" not in script for script in reader.scripts[-1:])
    assert {tag for tag, _ in reader.attributes} >= {"h1", "table", "details", "nav"}
    assert any(HOSTILE.strip() in text for text in reader.texts)
    figures = {a["data-figure"] for _, a in reader.attributes if "data-figure" in a}
    data = {a["id"] for tag, a in reader.attributes if tag == "script" and "id" in a} - {"templates"}
    assert figures == data  # every figure has its place, every place its figure
    anchors = {a["id"] for tag, a in reader.attributes if tag == "h2"}
    assert {a["href"] for tag, a in reader.attributes if tag == "a"} == {f"#{anchor}" for anchor in anchors}


@pytest.mark.parametrize("objective", NAMES)
def test_figures_neither_close_the_script_nor_hold_tags(objective: Objective) -> None:
    for figure in gallery.figures(example(objective)).values():
        texts = re.findall(r'"((?:[^"\\]|\\.)*)"', figure.to_json())
        assert not any("<script" in text or "<b>" in text for text in texts)


@pytest.mark.parametrize("objective", NAMES)
def test_parts_that_a_run_lacks_leave_no_trace(objective: Objective) -> None:
    reader = read(bare(example(objective)))
    headings = [a["id"] for tag, a in reader.attributes if tag == "h2"]
    assert headings == ["data", "results", "reproduce"]
    assert "mill" in reader.texts
    assert reader.open == []


@pytest.mark.parametrize("objective", NAMES)
@pytest.mark.parametrize("rows", [0, 1, 2])
def test_hardly_any_rows(objective: Objective, rows: int) -> None:
    assert read(example(objective, rows=rows)).open == []


def test_nothing_is_asked_of_the_network() -> None:
    text = page.render(example(Objective.BINARY), {})
    assert "default-src 'none'" in text
    assert not [a for _, a in Reader(text).attributes if a.get("src") or str(a.get("href") or "#")[0] != "#"]


def test_infinite_and_missing_figures_can_be_shown() -> None:
    content = example(Objective.REGRESSION)
    odd = (
        Metric(name="rmse", value=np.inf, lower=np.nan, upper=np.inf, higher_is_better=False),
        Metric(name="r2", value=-1e20, lower=0.5, upper=0.5, higher_is_better=True),
        Metric(name="mine", value=np.nan, lower=None, upper=None, higher_is_better=True),
    )
    broken = judged(replace(content, history=[content.history[0]]), replace(content.test.evaluation, metrics=odd))
    texts = read(broken).texts
    assert "∞" in texts
    assert "−1e+20" in texts


@pytest.mark.parametrize("objective", NAMES)
def test_many_rows_and_columns_stay_quick_and_small(objective: Objective) -> None:
    content = example(objective, rows=168_000, columns=200)
    gallery.figures(example(objective))  # imports plotly
    start = time.process_time()
    text = page.render(content, gallery.figures(content))
    assert time.process_time() - start < 5
    assert len(text) < 8_000_000


@pytest.mark.parametrize("objective", NAMES)
def test_no_figure_holds_the_rows(objective: Objective) -> None:
    def longest(value: Any) -> int:
        if isinstance(value, dict):
            return max(map(longest, value.values()), default=0)
        if isinstance(value, list):
            return max(len(value), *map(longest, value)) if value else 0
        return len(value) // 11 if isinstance(value, str) else 0  # arrays come as base64: about 11 letters a float64

    for name, figure in gallery.figures(example(objective, rows=20_000)).items():
        limit = 60 * 60 if name == "predicted_against_true" else 500
        assert longest(json.loads(figure.to_json())) <= limit, name


def test_the_tracker_gets_the_same_tables() -> None:
    tables = gallery.tables(example(Objective.BINARY))
    assert tables["metrics"].rows[0] == ("auroc", 0.7, 0.68, 0.72)
    assert tables["slices"].rows[0][:3] == (HOSTILE, "東京", 9)
    assert all(len(row) == len(table.columns) for table in tables.values() for row in table.rows)


def test_what_to_do_stands_with_what_was_found() -> None:
    """A column of its own at the right end was out of sight where names or messages were long."""
    text = page.render(example(Objective.BINARY), {})
    quality = text[text.index("<h3>Quality</h3>") : text.index("<h3>Columns</h3>")]
    rows = re.findall(r"<tr>(.*?)</tr>", quality, flags=re.DOTALL)
    assert len(rows) == 1 + len(Severity)
    assert all(len(re.findall(r"<td|<th", row)) == 3 for row in rows)
    assert all(re.search(r'class="text">.*drop it', row, flags=re.DOTALL) for row in rows[1:])


def test_left_out_columns_say_why() -> None:
    content = example(Objective.BINARY)
    left = Column(name="long_winded_name", kind=Kind.TIMESTAMP, role=Role.IGNORED, reason="named in data.ignored")
    reader = read(
        replace(content, data=replace(content.data, schema=Schema(columns=(*content.data.schema.columns, left))))
    )
    assert reader.open == [] and "named in data.ignored" in reader.texts
    assert [text for text in reader.texts if text in ("long_", "winded_", "name")] == ["long_", "winded_", "name"]


def test_years_are_written_and_drawn_as_years() -> None:
    rng = np.random.default_rng(0)
    years = pl.DataFrame({"built": rng.integers(2015, 2018, 500).astype(float), "id": np.arange(500.0) + 48_212})
    schema = Schema(columns=tuple(Column(name=name, kind=Kind.NUMERIC) for name in years.columns))
    content = example(Objective.BINARY)
    content = replace(content, data=replace(content.data, profile=profile(years, schema), schema=schema))
    texts = read(content).texts
    assert "2015 to 2017, median about 2016" in texts and any("48212 to 48711" in text for text in texts)
    layout = json.loads(gallery.figures(content)["distributions_1"].to_json())["layout"]
    assert layout["separators"] == "." and layout["xaxis"]["dtick"] == 1 and "dtick" not in layout["xaxis2"]
    assert layout["xaxis2"]["exponentformat"] == "none"


def test_the_head_says_in_words_that_trees_win() -> None:
    content = example(Objective.BINARY)
    stands = Standing(metric="auroc", ours=0.83, theirs=0.84, lower=-0.016, upper=-0.004, higher_is_better=True)
    worse = replace(content.test.evaluation.baselines[0].comparison, difference=0.1, lower=0.05, upper=0.2)
    trees = Baseline(name="boosting", metrics=(), comparison=worse, standing=stands)
    lost = judged(content, replace(content.test.evaluation, baselines=(trees,)))
    told = advice(lost.test.evaluation.baselines)
    verdict = Verdict(passed=True, reasons=("It beats the trivial baseline.", *told), comparison=None)
    reader = read(replace(lost, verdict=verdict))
    first = reader.texts.index(told[0])
    assert reader.texts.index("It beats the trivial baseline.") < first < reader.texts.index("AUROC")
    head = reader.texts[: reader.texts.index("Distributions")]
    assert sum(text == told[0] for text in head) == 1, "the gate's reasons hold it too, and it is said once"
