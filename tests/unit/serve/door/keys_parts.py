"""Keys in a file."""

import pytest

from tidemill.errors import RequestError
from tidemill.serve.door.keys import Scope


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.json"


def refusal(keys, presented, scope=Scope.PREDICT):
    with pytest.raises(RequestError) as caught:
        keys.check(presented, scope)
    return caught.value
