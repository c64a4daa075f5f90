"""A request is whole when its door hands it over."""

import pytest

from tidemill.ledger.record import Form
from tidemill.serve.wire import protocol
from tidemill.serve.wire.request import Request, Rows


def test_nothing_of_a_request_changes_after_its_door_has_built_it() -> None:
    request = Request(Rows(1, [], None, Form.ROWS, b""), protocol.encode)
    for value in (request, request.rows, request.arrival):
        for name in value.__struct_fields__:
            with pytest.raises(AttributeError):
                setattr(value, name, getattr(value, name))


def test_each_request_has_an_id_and_a_time_of_its_own() -> None:
    first, second = (Request(Rows(0, [], None, Form.ROWS, b""), protocol.encode).arrival for _ in range(2))
    assert first.id != second.id and len(first.id) == 32
    assert second.at > first.at and second.clock >= first.clock
