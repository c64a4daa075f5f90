"""`+experiment=table` on a CSV as people send them: semicolons, decimal commas, dates as text, a BOM, and worse."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from chain import MODEL, QUICK, Plain, Run, train

from tidemill.bundle.predictor import Predictor
from tidemill.data.raw import from_rows

pytestmark = pytest.mark.slow

ROWS = 600


@pytest.fixture(scope="module")
def odd(place: Path) -> Path:
    """What a spreadsheet in German saves, with two columns that hold nothing."""
    random = np.random.default_rng(2)
    lines = ["Größe;Preis in €;Stadt;seit;Bemerkung;leer;auch leer;verkauft"]
    for row in range(ROWS):
        size, price = random.normal(50, 20), random.uniform(500, 90_000)
        city = random.choice(["Zürich", 'Bad "Ems"', "Köln; Süd"])
        sold = size + 20 * (city == "Zürich") + random.normal(0, 8) > 58
        fields = [
            "" if row % 19 == 0 else f"{size:.3f}".replace(".", ","),
            f"{price:,.2f}".replace(",", " ").replace(".", ",").replace(" ", "."),
            '"' + city.replace('"', '""') + '"',
            f"{random.integers(1, 29):02}.{random.integers(1, 13):02}.20{random.integers(10, 24)}",
            f'"erste Zeile\nzweite ""Zeile"" {row % 3}"',
            "",
            "",
            "ja" if sold else "nein",
        ]
        lines.append(";".join(fields))
    path = place / "Angebote.csv"
    path.write_bytes(("\ufeff" + "\r\n".join(lines) + "\r\n").encode())
    return path


def job(odd: Path, *more: str) -> list[str]:
    return ["+experiment=table", f"data.path={odd}", *QUICK, *MODEL, *more]


@pytest.fixture(scope="module")
def inferred(place: Path, odd: Path) -> Run:
    return train(place / "inferred", place / "registry_inferred", *job(odd, "data.target=verkauft"))


@pytest.fixture(scope="module")
def pinned(place: Path, odd: Path, inferred: Run) -> Run:
    """With the schema that the first run wrote, edited: the price is left out, and the target stands in it."""
    text = (inferred.folder / "schema.yaml").read_text(encoding="utf-8")
    edited = text.replace("Preis in €: {kind: numeric, role: feature", "Preis in €: {kind: numeric, role: sensitive")
    assert edited != text
    schema = place / "edited.yaml"
    schema.write_text(edited, encoding="utf-8")
    return train(place / "pinned", place / "registry_pinned", *job(odd, f"data.schema={schema}", "name=pinned"))


def test_every_column_is_read_for_what_it_is(inferred: Run) -> None:
    columns = inferred.manifest["interface"]["schema"]["columns"]
    kinds = {name: (column["kind"], column["role"]) for name, column in columns.items()}
    assert kinds["Größe"] == ("numeric", "feature")
    assert kinds["Preis in €"] == ("numeric", "feature")
    assert kinds["Stadt"] == ("categorical", "feature")
    assert kinds["seit"] == ("timestamp", "feature")
    assert kinds["verkauft"] == ("categorical", "target")
    assert kinds["Bemerkung"] == ("categorical", "feature")
    assert kinds["leer"][1] == kinds["auch leer"][1] == "ignored"
    assert len(kinds) == 8
    assert sum(inferred.manifest["data"]["rows"].values()) == ROWS
    assert inferred.manifest["data"]["quarantined"] == 0


def test_the_bundle_answers(inferred: Run) -> None:
    assert inferred.name == "Angebote"
    predictor = Predictor(inferred.bundle)
    row: dict[str, object] = {"Größe": 71.25, "Preis in €": 12_345.67, "Stadt": "Köln; Süd", "seit": "2019-02-28"}
    row["Bemerkung"] = 'erste Zeile\nzweite "Zeile" 2'
    sent = from_rows([row], predictor.columns)
    served = predictor.predict(sent)
    assert sent.keys() == {entry["name"] for entry in inferred.manifest["interface"]["inputs"]}
    plain = Plain(inferred.bundle)(sent)
    assert np.array_equal(plain["probabilities"], served["probabilities"])
    assert served["label"][0] in ("ja", "nein")
    auroc = next(m for m in inferred.manifest["results"]["test"]["metrics"] if m["name"] == "auroc")
    assert auroc["value"] > 0.8


def test_the_written_schema_can_be_pinned_and_edited(inferred: Run, pinned: Run) -> None:
    assert pinned.manifest["data"]["fingerprint"] == inferred.manifest["data"]["fingerprint"]
    assert pinned.manifest["data"]["rows"] == inferred.manifest["data"]["rows"]
    left = {entry["name"] for entry in inferred.manifest["interface"]["inputs"]}
    assert {entry["name"] for entry in pinned.manifest["interface"]["inputs"]} == left - {"Preis in €"}
    written = yaml.safe_load((pinned.folder / "schema.yaml").read_text(encoding="utf-8"))
    before = yaml.safe_load((inferred.folder / "schema.yaml").read_text(encoding="utf-8"))
    before["columns"]["Preis in €"]["role"] = "sensitive"
    assert written == before
