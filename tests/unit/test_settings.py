"""conf/ and settings.py must say the same: every key that one has, the other knows."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
import pytest
from omegaconf import OmegaConf

from tidemill.composition import keys
from tidemill.errors import SettingsError
from tidemill.settings import Kind, Settings, WandbMode, addable, from_config, known_keys
from tidemill.settings.overrides import override, word

CONF = Path(__file__).parents[2] / "conf"
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
DEBUG = sorted(path.stem for path in (CONF / "debug").glob("*.yaml"))
MODELS = sorted(path.stem for path in (CONF / "model").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _hydra() -> Iterator[None]:
    OmegaConf.register_new_resolver("stem", lambda path: Path(str(path)).stem, replace=True)
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def compose(*overrides: str) -> dict[str, Any]:
    config = OmegaConf.to_container(hydra.compose("config", list(overrides)), resolve=True)
    assert isinstance(config, dict)
    return {str(key): value for key, value in config.items()}


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes_to_settings_that_keep_the_rules(experiment: str) -> None:
    settings = from_config(compose(f"+experiment={experiment}", "data.path=table.csv"))
    assert settings.name == experiment


@pytest.mark.parametrize("experiment", EXPERIMENTS)
@pytest.mark.parametrize("debug", DEBUG)
def test_every_debug_choice_overrides_every_experiment_and_keeps_off_the_registry(debug: str, experiment: str) -> None:
    usual = from_config(compose(f"+experiment={experiment}", "data.path=table.csv"))
    settings = from_config(compose(f"+experiment={experiment}", f"+debug={debug}", "data.path=table.csv"))
    assert settings.name == experiment and settings.data.target == usual.data.target
    assert settings.registry.path != usual.registry.path
    assert settings.tracking.wandb is WandbMode.DISABLED
    if debug != "default":
        assert settings.training != usual.training or settings.data != usual.data


@pytest.mark.parametrize("model", MODELS)
def test_every_model_has_a_yaml_that_its_settings_accept(model: str) -> None:
    assert model.startswith(from_config(compose(f"model={model}")).model.name)


def test_conf_sets_every_key_of_the_settings_and_no_other() -> None:
    def leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[str]:
        for key, value in tree.items():
            yield prefix + str(key)
            if isinstance(value, dict):
                yield from leaves(value, f"{prefix}{key}.")

    ours = {key for key in keys(Settings) if not key.startswith("model")}
    theirs = {key for key in leaves(compose()) if not key.startswith("model")}
    assert theirs - ours == set(), "conf/ sets keys that settings.py does not know"
    assert ours - theirs == set(), "settings.py wants keys that conf/ does not set"


def test_keys_of_all_models_are_known() -> None:
    known = known_keys()
    assert {"model.width", "model.dropout", "training.max_epochs", "data.path", "data.target"} <= set(known)


def test_a_wrong_model_key_is_refused_by_its_full_name() -> None:
    config = compose("model=mlp")
    config["model"]["widht"] = 3
    with pytest.raises(SettingsError, match=re.escape("model.widht = 3: no such key")) as caught:
        from_config(config)
    assert "did you mean model.width?" in str(caught.value)


def test_an_unknown_model_lists_the_models_there_are() -> None:
    config = compose()
    config["model"] = {"name": "mpl"}
    with pytest.raises(SettingsError, match="ft_transformer, linear, mlp, resnet, tabm"):
        from_config(config)


@pytest.mark.parametrize(
    "word",
    [
        "data.kinds.city=categorical",
        "data.kinds={city: categorical, size: numeric}",
        "data.quality.ranges.size=[0,null]",
        "data.quality.domains.city=[a,b]",
        "data.options.columns=[a,b]",
    ],
)
def test_what_errors_advise_about_columns_and_options_can_be_typed(word: str) -> None:
    from_config(compose(addable(word)))
    from_config(compose("+experiment=flights_live", "data.source=files", "~data.options.origin_delay", addable(word)))


def test_options_that_are_set_already_can_be_set() -> None:
    assert compose("+experiment=flights_live", addable("data.options.origin_delay=false"))["data"]["options"] == {
        "origin_delay": False
    }


@pytest.mark.parametrize("word", ["data.path=x", "+data.kinds.a=numeric", "data.kind=x", "-m", "~data.options", "a"])
def test_other_words_stay_as_they_are(word: str) -> None:
    assert addable(word) == word


ODD_NAMES = [
    "age", "sepal.length", "petal width", "größe", 'a"b', "it's", "a\\b", "${y}", "a(b)", "5", "a#b", "a\nb", "null",
    "a,b", "a:b", "{x}", "a=b", "%%a", "~x", "日本",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_column_can_be_named_in_a_setting_as_messages_say_it(name: str) -> None:
    """What a message tells a person to paste into a shell does what it says."""
    marks = ["\\N", "—", "#REF!", 'say "x"', "1", "null", "it's", "${z}", "a,b"]
    words = [
        override("data.kinds", name, "numeric"),
        override("data.missing_marks", name, marks),
        override("data.formats", name, "%d/%m/%Y %H:%M | %Y"),
        word("data.time", name),
        word("data.ignored", [name, "b"]),
    ]
    data = from_config(compose("data.path=x", *(addable(shlex.split(word)[0]) for word in words))).data
    assert data.kinds == {name: Kind.NUMERIC}
    assert data.missing_marks == {name: marks}
    assert data.formats == {name: "%d/%m/%Y %H:%M | %Y"}
    assert data.time == name and data.ignored == [name, "b"]


def test_settings_of_settings_take_columns_of_any_name_too() -> None:
    words = ["data.moments.m.year=a", "data.moments.m.month=b", "preparation.columns={a: {log: true}}"]
    assert compose(*map(addable, words))["data"]["moments"] == {"m": {"year": "a", "month": "b"}}
    moments = from_config(compose(addable("data.moments.when booked.year=a"))).data.moments
    assert moments == {"when booked": {"year": "a"}}
