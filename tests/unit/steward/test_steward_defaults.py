"""What serving/steward.yaml sets of losses and watches is what their settings accept."""

from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from live_rows import made, watched

from tidemill.composition import build
from tidemill.steward import losses

FILE = Path(__file__).parents[3] / "serving" / "steward.yaml"
SET: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))


def test_the_default_losses_can_be_made() -> None:
    assert losses.make(build(losses.Settings, SET["losses"]), made().identity).name == "log_loss"


@pytest.mark.parametrize("name", SET["watches"])
def test_each_default_watch_can_be_built(name: str) -> None:
    module = import_module(f"tidemill.steward.watches.{name}")
    assert module.build(build(module.Settings, SET["watches"][name]), watched()).labelled in (True, False)
