"""Keys in a file."""

from pathlib import Path

import pytest

from tidemill.errors import RequestError
from tidemill.serve.door.keys import Keys, Scope


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def refusal(keys: Keys, presented: str | None, scope: Scope = Scope.PREDICT) -> RequestError:
    with pytest.raises(RequestError) as caught:
        keys.check(presented, scope)
    return caught.value
