"""What shall be replayed, and how: all that `tidemill replay` was told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from tidemill.replay.live.traffic import TrafficSettings
from tidemill.replay.table.faults import Fault
from tidemill.replay.table.label_times import LabelTimes


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """One replay.

    words: behind `python train.py`. folder: new or empty, or of a replay that has sent nothing.
    since, until: UTC; None: where the table's first third is over, to the end. hasty: two days are enough.
    shuffled: seed with which all labels are permuted, before and after `since`: the null experiment, in which no model
        can be better than another. None: they are as they are.
    policy: over the replay's own. start: a registry whose champion is taken instead of training one.
    steward: whether there is one; wait: whether time waits for it; patience: for how many seconds at most.
    """

    words: Sequence[str]
    folder: Path
    since: datetime | None = None
    until: datetime | None = None
    hasty: bool = False
    known: LabelTimes = field(default_factory=LabelTimes)
    faults: Sequence[Fault] = ()
    manner: TrafficSettings = field(default_factory=TrafficSettings)
    shuffled: int | None = None
    policy: Path | None = None
    start: str | None = None
    steward: bool = True
    wait: bool = True
    patience: float = 300.0
