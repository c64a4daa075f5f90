"""The steward's policy in a replay: ours, fitted to the table, and over it the user's."""

import math
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from tidemill.errors import SettingsError
from tidemill.replay.table.window import TimeWindow
from tidemill.steward.policy import Policy, over, read

_QUICK = ("evaluation.baselines=[]", "evaluation.importance_rows=0", "gate.margin=0.05")
"""Of retrainings: without what only their reports would show, and with a gate for a few days' rows: trials decide."""
_DAYS = {"minimum": 5.6, "maximum": 50.0, "stage_minimum": 1.12, "probation": 16.7}
"""Of how many days a trial weighs records: it counts records, and tables have many a day or few."""


_OURS = {"time": {"clock": "event"}}
"""With the command of retraining, which must not see the future, what no policy changes: simulated time is the time."""


def fitted(file: Path | None, words: Sequence[str], window: TimeWindow, spread: float | None, into: Path) -> Policy:
    """Write the policy for a replay. Its clock and its command to train anew are the replay's own, whatever is given.

    Args:
        words: behind `python`, to train anew. spread: of a regression's labels, one standard deviation.

    Returns:
        The whole of it, as the steward will read it.

    Raises:
        SettingsError: the file cannot be read, or a value breaks its rule.
    """
    below = yaml.safe_load((files("tidemill.replay") / "policy.yaml").read_text(encoding="utf-8"))
    joined = over(over(below, _fitted(window, spread)), _users(file))
    joined = over(joined, {**_OURS, "retrain": {"command": [sys.executable, *words, *_QUICK]}})
    into.write_text(yaml.safe_dump(joined, sort_keys=False), encoding="utf-8")
    return read(into)


def _fitted(window: TimeWindow, spread: float | None) -> dict[str, Any]:
    """What depends on the table: how many records come a day, for how long, and how late their labels are."""
    every = float(min(30, max(7, window.days // 3)))
    weighed = {**_DAYS, "maximum": min(_DAYS["maximum"], max(10.0, window.days / 2))}
    return {
        # When nearly all labels of every class have come, and a day more: labels that came at the last minute
        # may still be under way to the tables, and what is decided must not depend on how quick this machine is.
        "time": {"label_wait_hours": 24 * (1 + math.ceil(window.lag.total_seconds() / 86_400))},
        "trial": {name: max(1, int(float(f"{days * window.per_day:.2g}"))) for name, days in weighed.items()},
        "triggers": {"every_days": every, "cooldown_days": min(14.0, every / 2)},
        # as the first model was: with a fixed delay there is no telling classes apart by who comes first
        "retrain": {"mature_share": window.maturity.share if window.maturity.share < 1 else None},
        **({} if spread is None else {"losses": {"scale": float(f"{3 * spread:.3g}")}}),
    }


def _users(file: Path | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        if not isinstance(content, dict):
            raise ValueError(f"a mapping was expected, not {type(content).__name__}")
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise SettingsError(
            "--policy names a YAML file that can be read",
            observed=f"{file}: {error}",
            remedy="start from the policy.yaml that `tidemill replay` writes into its folder",
        ) from error
    return content
