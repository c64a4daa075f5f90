"""The settings door: every wrong setting is refused by its full key, with the value and the rule."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

import pytest

from tidemill.composition import Rule, build, choices, component, keys, nearest_key
from tidemill.errors import SettingsError


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


@dataclass(kw_only=True, slots=True)
class Inner:
    share: Annotated[float, Rule("between 0 and 1", lambda value: 0 <= value <= 1)]
    colour: Colour


@dataclass(kw_only=True, slots=True)
class Outer:
    count: int
    name: str | None
    flag: bool
    inner: Inner
    items: list[str]
    table: dict[str, float]


def outer(**changes: Any) -> dict[str, Any]:
    inner = {"share": 0.5, "colour": "red"} | changes.pop("inner", {})
    right = {"count": 3, "name": None, "flag": True, "inner": inner, "items": ["a"], "table": {"x": 1}}
    return right | changes


def test_right_values_become_a_dataclass_with_the_declared_types() -> None:
    made = build(Outer, outer())
    assert made == Outer(
        count=3, name=None, flag=True, inner=Inner(share=0.5, colour=Colour.RED), items=["a"], table={"x": 1.0}
    )
    assert isinstance(made.table["x"], float)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"count": "many"}, "group.count = 'many': must be a whole number"),
        ({"count": 2.5}, "group.count = 2.5: must be a whole number"),
        ({"count": True}, "group.count = True: must be a whole number"),
        ({"count": None}, "group.count = None: must be a whole number"),
        ({"flag": "yes"}, "group.flag = 'yes': must be true or false"),
        ({"inner": {"share": 1.5}}, "group.inner.share = 1.5: must be between 0 and 1"),
        ({"inner": {"share": float("nan")}}, "group.inner.share = nan: must be a finite number"),
        ({"inner": {"colour": "reed"}}, "group.inner.colour = 'reed': must be one of red, blue; did you mean red?"),
        ({"inner": {"shape": 1}}, "group.inner.shape = 1: no such key, there are share, colour; did you mean"),
        ({"items": "a"}, "group.items = 'a': must be a list"),
        ({"items": [["a"]]}, "group.items[0] = ['a']: must be text"),
        ({"table": {"x": float("inf")}}, "group.table.x = inf: must be a finite number"),
        ({"table": [1]}, "group.table = [1]: must be a mapping"),
        ({"table": {"x": "y"}}, "group.table.x = 'y': must be a finite number"),
    ],
)
def test_a_broken_rule_names_the_full_key_the_value_and_the_rule(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        build(Outer, outer(**changes), "group")
    assert message in str(caught.value)


def test_all_broken_rules_are_reported_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        build(Outer, outer(count="x", flag=3, inner={"share": -1}))
    assert all(key in str(caught.value) for key in ("count = 'x'", "flag = 3", "inner.share = -1"))


def test_missing_keys_and_groups_are_named() -> None:
    wrong = outer(inner={})
    del wrong["count"]
    wrong["inner"] = 3
    with pytest.raises(SettingsError) as caught:
        build(Outer, wrong)
    assert "count = nothing: must be set" in str(caught.value)
    assert "inner = 3: must be a group of keys" in str(caught.value)


def test_every_key_is_listed_and_the_nearest_is_found() -> None:
    known = list(keys(Outer))
    assert known == ["count", "name", "flag", "inner", "inner.share", "inner.colour", "items", "table"]
    assert nearest_key("inner.shar", known) == "inner.share"
    assert nearest_key("outer.colour", known) == "inner.colour"
    assert nearest_key("zzz", known) is None


def test_a_component_is_found_by_name_or_the_choices_are_listed() -> None:
    assert component("tidemill.data.sources", "flights", having="read", key="data.source").__name__.endswith("flights")
    for wrong in ("flight", "", "tidemill.errors", "nowhere.at.all"):
        with pytest.raises(SettingsError, match=r"data\.source must name a module with a function read") as caught:
            component("tidemill.data.sources", wrong, having="read", key="data.source")
        assert "files, flights, production, sql" in str(caught.value)
    assert choices("tidemill.data.sources", "read") == ["files", "flights", "production", "sql"]
