"""What every benchmark has: `--quick`, and a last line for programs.

    {"bench": "training", "figures": {"of_raw_loop": 0.93}, "targets": {"of_raw_loop": {"at_least": 0.7}}, "met": true}

`bench` is the file's name. Each target's key is also a key of `figures`; a figure that could not be measured is null
and meets no target. `--quick` runs the same code on small sizes, without peers that are not installed: whether it still
runs is what a quick run shows, and its figures say nothing about speed.
"""

import argparse
import json
import math
import operator
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

Targets = Mapping[str, Mapping[str, float]]
"""Figure → {"above", "at_least", "at_most" or "below": bound}."""
NOT_INSTALLED = "not installed, and --quick installs nothing"
"""What the table says of a peer that a quick run leaves out."""
_HOLDS = {"above": operator.gt, "at_least": operator.ge, "at_most": operator.le, "below": operator.lt}
_SIGNS = {"above": ">", "at_least": "≥", "at_most": "≤", "below": "<"}


class Options(argparse.ArgumentParser):
    """A benchmark's command line. doc: its module's docstring."""

    def __init__(self, doc: str | None) -> None:
        super().__init__(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
        self.add_argument("--quick", action="store_true", help="small sizes, and no peer that is not installed")
        place = Path(tempfile.gettempdir()) / "tidemill-bench"
        kept = "keeps small models and peers for later runs, of those benchmarks that have any (default: %(default)s)"
        self.add_argument("--cache", type=Path, default=place, help=kept)

    def chosen(self, **quick: Any) -> argparse.Namespace:
        """The options given. quick: the defaults of a quick run."""
        found = self.parse_args()
        if found.quick:
            self.set_defaults(**quick)
            found = self.parse_args()
        found.cache = found.cache.absolute()
        return found


def report(file: str, figures: Mapping[str, Any], targets: Targets) -> None:
    """Print whether each target is met, then the last line. file: the benchmark's `__file__`."""
    met = True
    print()
    for name, bounds in targets.items():
        value = figures[name]
        for word, bound in bounds.items():
            holds = value is not None and math.isfinite(value) and _HOLDS[word](value, bound)
            met = met and holds
            shown = "not measured" if value is None else f"{value:g}"
            print(f"{name:32}{shown:>14}   {_SIGNS[word]} {bound:<10g}{'yes' if holds else 'NO'}")
    print(json.dumps({"bench": Path(file).stem, "figures": _plain(figures), "targets": targets, "met": met}))


def _plain(value: Any) -> Any:
    """As JSON has it: what is not finite becomes null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
