"""The documents cannot lie: every command they show composes or parses."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest
from chain import ROOT
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from tidemill.cli import _parser
from tidemill.settings import from_config, overrides
from tidemill.steward import policy
from tidemill.steward.watching import watches

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docker").rglob("*.md")), *sorted(ROOT.glob("scripts/*.sh"))]
HELP = ROOT / "conf" / "hydra" / "help" / "tidemill.yaml"
TRAIN = re.compile(r'(?:^|`|\s)(?:python|"\$bin/python") train\.py([^`"\n]*)', flags=re.MULTILINE)
TIDEMILL = re.compile(
    r'^(?: {4}|.*"\$bin/)tidemill"? ((?:serve|registry|replay|steward|predict|drift)[^`"$\n]*)', flags=re.MULTILINE
)
MENTION = re.compile(r"`tidemill ((?:serve|registry|replay)[\w |]*)`")


def found(pattern: re.Pattern[str]) -> Iterator[tuple[str, str]]:
    """Document and what follows the command's name: up to a comment, or to the gap before an explanation."""
    for document in (*DOCUMENTS, HELP):
        text = re.sub(r" \\\n\s+", " ", document.read_text(encoding="utf-8"))  # lines that go on
        for match in pattern.finditer(text):
            yield document.name, re.split(r"\s{2,}|\s#|…$", match.group(1).strip())[0]


TRAININGS = sorted({words for _, words in found(TRAIN)})
COMMANDS = sorted({words for _, words in found(TIDEMILL)})
MENTIONS = sorted({words for _, words in found(MENTION)})
OFTEN = [
    re.split(r"\s{2,}", line.strip())[0]
    for line in HELP.read_text(encoding="utf-8").split("Often used")[1].split("Groups in")[0].splitlines()
    if "=" in line
]


@pytest.fixture(scope="module", autouse=True)
def stem() -> None:
    """train.py names a table's model by its file; importing it registers that."""
    if not OmegaConf.has_resolver("stem"):
        import train  # noqa: F401


def check(overrides: list[str]) -> None:
    """Compose and check the settings; in a multirun those of every trial."""
    parsed = OverridesParser.create().parse_overrides(overrides)
    swept = [
        [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()] if o.is_sweep_override() else [text]
        for o, text in zip(parsed, overrides, strict=True)
    ]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for trial in product(*swept):
            from_config(OmegaConf.to_container(compose("config", list(trial)), resolve=True))


def test_commands_are_found() -> None:
    """So that a changed way of writing them does not leave the tests below with nothing to look at."""
    documents = {document for document, _ in (*found(TRAIN), *found(TIDEMILL))}
    assert {"README.md", "tidemill.yaml"} <= documents
    assert len(TRAININGS) >= 5
    assert len(COMMANDS) >= 2
    assert len(OFTEN) >= 5


@pytest.mark.parametrize("words", TRAININGS)
def test_a_shown_training_composes(words: str) -> None:
    arguments = get_args_parser().parse_args(shlex.split(words))
    check(arguments.overrides)


@pytest.mark.parametrize("words", OFTEN)
def test_often_used_settings_compose(words: str) -> None:
    choices = [
        [f"{word.split('=')[0]}={value}" for value in word.split("=", 1)[1].split("|")] for word in words.split()
    ]
    for chosen in product(*choices):
        check(list(chosen))


@pytest.mark.parametrize("words", COMMANDS)
def test_a_shown_tidemill_command_parses(words: str) -> None:
    parsed = _parser().parse_args(shlex.split(words))
    assert callable(parsed.command)


def test_the_shown_policy_can_be_read(tmp_path: Path) -> None:
    (shown,) = re.findall(r"^```yaml\n(mode:.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)
    (tmp_path / "policy.yaml").write_text(shown, encoding="utf-8")
    found = policy.read(tmp_path / "policy.yaml")
    watches(found)
    check(found.retrain.command[2:])


@pytest.mark.parametrize("words", MENTIONS)
def test_a_mentioned_tidemill_command_exists(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    for chosen in product(*(word.split("|") for word in words.split())):
        with pytest.raises(SystemExit) as ended:
            _parser().parse_args([*chosen, "--help"])
        assert ended.value.code == 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_shown_files_are_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    shown = re.findall(r"(?:\./)?((?:scripts|conf|src|tests|docker)/[\w./-]*\w)", text)
    assert [name for name in shown if not (ROOT / name).exists()] == []


def test_settings_shown_in_text_exist() -> None:
    """`data.schema=…` and the like between backticks."""
    import tidemill.settings as settings

    known = set(settings.known_keys())
    of_columns = [group for group, _ in overrides.groups(settings.Settings)]
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for key in re.findall(
            r"`((?:data|model|training|evaluation|tracking|registry|gate|preparation)\.[\w.]+)=", text
        ):
            of_a_column = any(key.startswith(f"{group}.") for group in of_columns)
            assert key in known or of_a_column, f"{document.name}: {key}"


@pytest.mark.slow
def test_help_is_worth_reading() -> None:
    done = subprocess.run([sys.executable, "train.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "{" not in done.stdout
    for said in (
        "+experiment=table data.path=FILE",
        "model: ft_transformer, linear, mlp, mlp_small, resnet, tabm",
        "--cfg job",
    ):
        assert said in done.stdout


@pytest.mark.slow
def test_every_key_can_be_printed() -> None:
    """`python train.py --cfg job`, as the help says."""
    words = [sys.executable, "train.py", "+experiment=flights", "--cfg", "job"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
    printed = OmegaConf.to_container(OmegaConf.create(done.stdout))
    assert isinstance(printed, dict)
    assert printed["data"]["target"] == "disrupted"
    from_config(printed)
