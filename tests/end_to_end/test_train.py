"""What a run leaves: a champion in the registry, whole, self-contained and true."""

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from chain import TARGETS, Plain, Run, raw_arrays, read_csv
from sklearn.metrics import log_loss, roc_auc_score, root_mean_squared_error
from sklearn.model_selection import train_test_split

pytestmark = pytest.mark.slow

FILES = {"model.onnx", "manifest.json", "golden.json", "profile.json", "report.html", "checksums.json"}
OBJECTIVES = {"bought": "binary", "grade": "multiclass", "spend": "regression"}
METRICS = {
    "binary": {"accuracy", "precision", "recall", "f1", "auroc", "average_precision", "log_loss", "brier", "ece"},
    "multiclass": {"accuracy", "precision", "recall", "f1", "auroc", "average_precision", "log_loss", "brier", "ece"},
    "regression": {"rmse", "mae", "r2", "coverage", "width"},
}
ANSWERS = {
    "binary": ["probabilities", "label"],
    "multiclass": ["probabilities", "label"],
    "regression": ["value", "lower", "upper"],
}


def test_it_ends_as_champion(run: Run) -> None:
    assert run.result["status"] == "done"
    assert run.result["version"] == "1"
    content = json.loads((run.registry / run.name / "aliases.json").read_text())
    assert content["aliases"] == {"candidate": "1", "champion": "1"}
    assert "shop version 1 is champion" in run.output
    last = content["history"][-1]
    assert last["by"] == "train.py"
    assert "beats the trivial baseline" in last["reason"]


def test_the_bundle_is_whole(run: Run) -> None:
    assert {path.name for path in run.bundle.iterdir()} == FILES
    sums = json.loads((run.bundle / "checksums.json").read_text())["sha256"]
    found = {name: hashlib.sha256((run.bundle / name).read_bytes()).hexdigest() for name in FILES - {"checksums.json"}}
    assert sums == found


def test_there_is_no_pickle(run: Run) -> None:
    """Nothing named or beginning as one; the checkpoint can be read without running code."""
    import torch

    places = [*run.folder.rglob("*"), *run.registry.rglob("*")]
    files = [path for path in places if path.is_file() and not path.is_symlink()]
    assert not [path for path in files if path.suffix in {".pkl", ".pickle", ".joblib", ".pt", ".pth", ".npy"}]
    heads = {path: path.read_bytes()[:4] for path in files}
    assert not [path for path, head in heads.items() if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05"]
    (zipped,) = [path for path, head in heads.items() if head == b"PK\x03\x04"]
    assert zipped == run.folder / "checkpoints" / "last.ckpt"
    torch.load(zipped, weights_only=True)


def test_the_manifest_says_where_it_comes_from(run: Run) -> None:
    described = run.manifest
    target = run.folder.name
    assert described["identity"]["objective"] == OBJECTIVES[target]
    inputs = {entry["name"]: (entry["kind"], entry["type"]) for entry in described["interface"]["inputs"]}
    assert inputs == {
        "size": ("numeric", "float64"),
        "price": ("numeric", "float64"),
        "city": ("categorical", "string"),
        "open": ("boolean", "float64"),
        "at": ("timestamp", "int64"),
    }
    assert [output["name"] for output in described["interface"]["outputs"]] == ANSWERS[OBJECTIVES[target]]
    roles = {name: column["role"] for name, column in described["interface"]["schema"]["columns"].items()}
    ignored = {name: "ignored" for name in TARGETS if name != target}
    assert roles == ignored | {
        "id": "key",
        "sex": "sensitive",
        "w": "weight",
        target: "target",
        **dict.fromkeys(inputs, "feature"),
    }
    assert re.fullmatch("[0-9a-f]{64}", described["data"]["fingerprint"])
    assert described["data"]["split"]["method"] == "random"
    assert described["data"]["rows"] == {"train": 576, "validation": 144, "test": 180}
    assert described["code"]["tidemill"]
    assert {"torch", "onnxruntime", "polars"} <= set(described["code"]["dependencies"])
    assert described["settings"]["data"]["target"] == target
    assert described["settings"]["training"]["max_epochs"] == 8


def test_every_metric_has_its_interval(run: Run) -> None:
    test = run.manifest["results"]["test"]
    assert {metric["name"] for metric in test["metrics"]} == METRICS[test["objective"]]
    for metric in test["metrics"]:
        assert metric["lower"] <= metric["upper"], metric
    assert {entry["value"] for entry in test["slices"] if entry["column"] == "sex"} == {"f", "m"}
    assert {baseline["name"] for baseline in test["baselines"]} == {"trivial", "linear", "boosting"}


def test_the_metrics_are_those_of_the_published_rows(run: Run, table: Path) -> None:
    """Test rows by scikit-learn, answers by plain ONNX Runtime, figures by scikit-learn: the manifest's own."""
    records = read_csv(table)
    _, rows = train_test_split(np.arange(len(records)), test_size=0.2, random_state=0)
    tested = [records[row] for row in sorted(rows)]
    answers = Plain(run.bundle)(raw_arrays(tested, run.manifest))
    truth = np.array([record[run.folder.name] for record in tested])
    figures = {metric["name"]: metric["value"] for metric in run.manifest["results"]["test"]["metrics"]}
    if run.manifest["identity"]["objective"] == "regression":
        assert figures["rmse"] == pytest.approx(
            root_mean_squared_error(truth.astype(float), answers["value"]), rel=1e-5
        )
        inside = (answers["lower"] <= truth.astype(float)) & (truth.astype(float) <= answers["upper"])
        assert 0.8 < inside.mean() < 0.99
        return
    classes = run.manifest["identity"]["classes"]
    probabilities = answers["probabilities"].astype(float)
    assert figures["accuracy"] == pytest.approx((answers["label"] == truth).mean(), rel=1e-5)
    places = [classes.index(label) for label in truth]
    assert figures["log_loss"] == pytest.approx(
        log_loss(places, probabilities / probabilities.sum(axis=1, keepdims=True)), rel=1e-4
    )
    if len(classes) == 2:
        assert figures["auroc"] == pytest.approx(roc_auc_score(truth == classes[1], probabilities[:, 1]), rel=1e-5)


def test_the_test_split_is_opened_once(run: Run) -> None:
    assert run.output.count("Opening the test split") == 1
    data = run.manifest["data"]
    assert data["test_opened"]["purpose"] == "parity, evaluation and gate"
    assert [look["purpose"] for look in data["test_inspected"]] == ["data checks"]
    parity = run.manifest["results"]["parity"]
    assert parity["rows"] > data["rows"]["test"]
    assert parity["difference"] <= 1e-5
    trained = run.output.index("Training ")
    assert run.output.index("Opening the test split") > trained


class Page(HTMLParser):
    """What a browser would load or be sent to, and the page's text outside scripts and styles."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.policy = ""
        self.ids: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag == "meta" and named.get("http-equiv") == "Content-Security-Policy":
            self.policy = named["content"] or ""
        self.ids.add(named.get("id") or "")
        for name in ("src", "href", "action", "data", "poster", "srcset"):
            link = named.get(name)
            if link and link.startswith("#"):
                self.anchors.add(link[1:])
            elif link and not link.startswith("data:"):
                self.loads.append(f"{tag} {name}={link}")


def test_the_report_holds_all_it_needs(run: Run) -> None:
    content = (run.bundle / "report.html").read_text(encoding="utf-8")
    page = Page(content)
    assert page.loads == []
    assert page.policy.startswith("default-src 'none'")
    assert "http" not in page.policy
    assert page.anchors <= page.ids
    assert page.anchors
    styles = "".join(re.findall(r"<style[^>]*>(.*?)</style>", content, flags=re.DOTALL))
    assert "@import" not in styles
    assert not re.search(r"url\(\s*['\"]?https?:", styles)
    for said in (
        "beats the trivial baseline",
        "python train.py +experiment=table",
        run.manifest["identity"]["created"][:10],
    ):
        assert said in content, said
