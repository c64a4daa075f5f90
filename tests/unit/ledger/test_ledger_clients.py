"""Labels hold for the answers of the client who sends them, unless they are good for everybody's."""

import json

import polars as pl
import pytest
from ledger_entries import AT, ROW, Write, answered, described
from test_ledger_keys import KEYED

from tidemill.ledger import frames, record, tables
from tidemill.ledger.record import Label
from tidemill.ledger.settings import LedgerSettings
from tidemill.ledger.shipper import Shipper

LATER = AT + 60 * 10**9


def ship(settings: LedgerSettings) -> None:
    Shipper(settings, "shop", settings.segments("shop")).run()


def truths(settings: LedgerSettings) -> dict[str, str | None]:
    return dict(tables.joined(settings, "shop").select("id", "true_label").sort("id").collect().iter_rows())


def foreign(settings: LedgerSettings) -> dict[str, int]:
    given = tables.joined(settings, "shop").filter(pl.col("foreign") > 0)
    return dict(given.select("id", "foreign").sort("id").collect().iter_rows())


def test_a_label_holds_for_its_own_clients_answers(settings: LedgerSettings, write: Write) -> None:
    write(
        [
            answered("a1", client="app"),
            answered("b1", client="shop"),
            answered("c1"),
            *(Label(f"{id}-0", "yes", LATER, client="app") for id in ("a1", "b1", "c1")),
            Label("b1-0", "no", LATER - 1, client="shop"),
        ]
    )
    ship(settings)
    assert truths(settings) == {"a1-0": "yes", "b1-0": "no", "c1-0": None}
    assert foreign(settings) == {"b1-0": 1, "c1-0": 1}
    assert tables.unknown(settings, "shop").collect().is_empty()


def test_a_label_for_everybody_holds_for_every_answer(settings: LedgerSettings, write: Write) -> None:
    write([answered("a1", client="app"), answered("c1"), Label("a1-0", "yes", LATER), Label("c1-0", "no", LATER)])
    ship(settings)
    assert truths(settings) == {"a1-0": "yes", "c1-0": "no"}
    assert foreign(settings) == {}


def test_by_key_too_a_label_holds_for_its_own_clients_answers(settings: LedgerSettings, write: Write) -> None:
    one = json.dumps({"rows": [{**ROW, "order": 7}]}).encode()
    write(
        [
            answered("a1", inputs=one, client="app"),
            answered("b1", inputs=one, client="shop"),
            Label(None, "no", LATER, key="7", client="app"),
        ],
        versions=(described("1", KEYED),),
    )
    ship(settings)
    assert truths(settings) == {"a1-0": "no", "b1-0": None}
    assert foreign(settings) == {"b1-0": 1}


def test_labels_of_different_content_are_counted(settings: LedgerSettings, write: Write) -> None:
    write(
        [
            answered("a1", client="app"),
            answered("b1", client="app"),
            *(Label("a1-0", label, LATER + place, client="app") for place, label in enumerate(("yes", "no", "yes"))),
            *(Label("b1-0", "yes", LATER + place, client="app") for place in range(3)),
            Label("b1-0", "no", LATER, client="shop"),
        ]
    )
    ship(settings)
    found = tables.joined(settings, "shop").select("id", "true_label", "contradicted").sort("id").collect()
    assert found.rows() == [("a1-0", "yes", True), ("b1-0", "yes", False)]


@pytest.mark.parametrize("tosses", [None, (b"one",)])
@pytest.mark.parametrize("client", [None, "Märkte & Söhne"])
def test_who_asked_is_kept_in_a_segment(tosses: tuple[bytes, ...] | None, client: str | None) -> None:
    given = answered("a1", tosses=tosses, client=client)
    (found,) = frames.entries(frames.answered(given), frames.Damage())
    assert isinstance(found, record.Answered)
    assert (found.tosses, found.client) == (tosses, client)


@pytest.mark.parametrize("key", [None, "7"])
@pytest.mark.parametrize("client", [None, "app"])
def test_who_labelled_is_kept_in_a_segment(key: str | None, client: str | None) -> None:
    given = Label(None if key else "a1-0", "yes", AT, key=key, client=client)
    assert list(frames.entries(frames.label(given), frames.Damage())) == [given]
