"""The documents cannot lie: commands compose or run, settings and files exist, links lead somewhere, outputs are so."""

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml
from chain import ROOT
from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from shown import DOCUMENTS, GENERATED, HELP, PAGES, anchors, blocks, commands, links, mentions, name, programs

from tidemill import errors
from tidemill.cli import _parser
from tidemill.serve.arguments import Arguments, parse
from tidemill.settings import Settings, addable, from_config, known_keys, overrides
from tidemill.steward import policy
from tidemill.steward.watching import watches

TRAININGS = sorted({words for _, words in (*commands("train.py"), *mentions("train.py"))})
COMMANDS = sorted({words for _, words in commands("tidemill")})
MENTIONS = sorted({words for _, words in mentions("tidemill") if words})
OFTEN = [
    re.split(r"\s{2,}", line.strip())[0]
    for line in HELP.read_text(encoding="utf-8").split("Often used")[1].split("Groups in")[0].splitlines()
    if "=" in line
]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
POLICY = ROOT / "src" / "tidemill" / "steward" / "policy.yaml"


@pytest.fixture(scope="module", autouse=True)
def _stem() -> None:
    OmegaConf.register_new_resolver("stem", overrides.stem, replace=True)


def check(words: Sequence[str], config: Path = ROOT / "conf") -> None:
    """Compose and check the settings; in a multirun those of every trial."""
    given = [addable(word) for word in words]
    parsed = OverridesParser.create().parse_overrides(given)
    swept = [
        [f"{o.get_key_element()}={value}" for value in o.sweep_string_iterator()] if o.is_sweep_override() else [text]
        for o, text in zip(parsed, given, strict=True)
    ]
    with initialize_config_dir(str(config), version_base="1.3"):
        for trial in product(*swept):
            from_config(OmegaConf.to_container(compose("config", list(trial)), resolve=True))


def test_commands_are_found() -> None:
    """So that a changed way of writing them does not leave the tests below with nothing to look at."""
    documents = {document for document, _ in (*commands("train.py"), *commands("tidemill"))}
    wanted = {"README.md", "docs/get-started.md", "docs/loop.md", "serving/README.md", "scripts/quickstart.sh"}
    assert wanted | {"conf/hydra/help/tidemill.yaml"} <= documents
    assert len(TRAININGS) >= 15
    assert len(COMMANDS) >= 30
    assert len(OFTEN) >= 5


@pytest.mark.parametrize("words", TRAININGS, ids=" ".join)
def test_a_shown_training_composes(words: tuple[str, ...]) -> None:
    arguments = get_args_parser().parse_args(list(words))
    given = [word for word in arguments.overrides if not re.search(r"=(?:FILE|COLUMN|GROUP)\b", word)]
    if arguments.config_dir:  # only Hydra's own start reads it
        given = [word for word in given if not word.startswith("model=")]
    check(given)


@pytest.mark.parametrize("words", OFTEN)
def test_often_used_settings_compose(words: str) -> None:
    choices = [
        [f"{word.split('=')[0]}={value}" for value in word.split("=", 1)[1].split("|")] for word in words.split()
    ]
    for chosen in product(*choices):
        check(list(chosen))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_shown_tidemill_command_parses(words: tuple[str, ...]) -> None:
    parsed = _parser().parse_args(list(words))
    assert callable(parsed.command)
    if words[0] == "replay" and "data.path=FILE" not in words:
        check(parsed.words)
    if words[0] == "serve":
        parse({"registry": "registry", "model": "people"}, parsed.settings)


@pytest.mark.parametrize("words", MENTIONS, ids=" ".join)
def test_a_mentioned_tidemill_command_exists(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """It may be a part of a command, or say `promote|rollback`: its options must be there."""
    named = [word for word in words if re.fullmatch(r"[a-z]+(\|[a-z]+)*", word)][:2]
    options = [word.partition("=")[0] for word in words if word.startswith("--")]
    for chosen in product(*(word.split("|") for word in named)):
        with pytest.raises(SystemExit) as ended:
            _parser().parse_args([*chosen, "--help"])
        assert ended.value.code == 0
        help_ = capsys.readouterr().out
        assert [option for option in options if option not in help_] == []


@pytest.mark.parametrize("document", PAGES, ids=name)
def test_shown_policies_can_be_read(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    for block in blocks(document):
        if block.language == "yaml":
            (tmp_path / "policy.yaml").write_text(block.text, encoding="utf-8")
            found = policy.read(tmp_path / "policy.yaml")
            watches(found)
            if "retrain:" in block.text:
                check(found.retrain.command[2:])


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_shown_files_are_there(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    folders = "scripts|conf|src|tests|docker|docs|examples|serving"
    shown = re.findall(rf"(?<![\w/.-])(?:\.\./|\./)?((?:{folders})/[\w./-]*\w)", text)
    made = ("docs/_build", "docs/reference", "src/tidemill/steward/watches/frequent.py", "conf/model/corrected.yaml")
    made += ("src/tidemill/models/corrected.py", "src/tidemill/data/sources/waves.py")  # what a reader would write
    assert [shown_ for shown_ in shown if not shown_.startswith(made) and not (ROOT / shown_).exists()] == []


@pytest.mark.parametrize("document", PAGES, ids=name)
def test_links_lead_somewhere(document: Path) -> None:
    script = (ROOT / "scripts" / "reference.py").read_text(encoding="utf-8")
    pages = re.findall(r'^    "(\w+)": \w+,$', script.split("\nPAGES = {")[1].split("\n}")[0], flags=re.MULTILINE)
    assert len(pages) >= 6
    generated = {(GENERATED / f"{page}.md") for page in pages}
    for link in links(document):
        place, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (document.parent / place).resolve() if place else document
        assert target.exists() or target in generated, link
        if anchor and target not in generated:
            assert anchor in anchors(target), link


def test_settings_shown_in_text_exist() -> None:
    """`data.schema=…`, `trial.alpha`, `ledger.when_full` and the like between backticks."""
    known = {*known_keys(), *(key for group, _ in overrides.groups(Settings) for key in [group])}
    groups = sorted({key.split(".")[0] for key in known if "." in key} - {"model"})
    steward = yaml.safe_load(POLICY.read_text(encoding="utf-8"))
    nested = dict(get_type_hints(Arguments))
    for document in DOCUMENTS:
        text = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
        for key in re.findall(rf"`((?:{'|'.join(groups)})\.[\w.]+)=", text):
            of_a_column = any(key.startswith(f"{group}.") for group, _ in overrides.groups(Settings))
            assert key in known or of_a_column, f"{name(document)}: {key}"
        if document.name == "LOG.md":  # says what was
            continue
        for group, key in re.findall(r"`(time|labels|trial|triggers|retrain|notify)\.(\w+)[`:=]", text):
            assert key in steward[group], f"{name(document)}: {group}.{key}"
        for group, key in re.findall(r"`(ledger|limits|queues)\.(\w+)[`=]", text):
            assert key in nested[group].__dataclass_fields__, f"{name(document)}: {group}.{key}"


def test_every_error_has_a_section() -> None:
    tree = ast.parse(Path(errors.__file__).read_text(encoding="utf-8"))
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^## `(\w+)`$", page, flags=re.MULTILINE)) == classes


def test_shown_bodies_are_json() -> None:
    bodies = [body for page in PAGES for body in re.findall(r"-d '([^']*)'", page.read_text(encoding="utf-8"))]
    assert len(bodies) >= 2
    for body in bodies:
        assert json.loads(body.replace(", …", "")), body


def test_the_readme_is_one_that_people_read() -> None:
    assert (ROOT / "README.md").read_text(encoding="utf-8").count("\n") <= 120


def sandbox(folder: Path) -> dict[str, str]:
    """A folder in which commands run as in a checkout, and what they write stays out of it. Returns the environment."""
    for part in ("train.py", "conf", "examples", "src", "scripts", "serving"):
        (folder / part).symlink_to(ROOT / part)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WANDB_", "PYTEST_"))}
    return {**kept, "PATH": f"{programs()}:{os.environ['PATH']}", "HOME": str(folder), "OMP_NUM_THREADS": "1"}


def ran(command: list[str], folder: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


RUN = [page for page in PAGES if any("run" in block.tags for block in blocks(page))]


@pytest.mark.slow
@pytest.mark.parametrize("document", RUN, ids=name)
def test_marked_blocks_run_and_print_what_is_shown(document: Path, tmp_path: Path) -> None:
    environment, printed = sandbox(tmp_path), ""
    for block in blocks(document):
        if "run" in block.tags:
            program = ["bash", "-euo", "pipefail"] if block.language == "sh" else [sys.executable]
            printed = ran([*program, "-c", block.text], tmp_path, environment)
        elif "output" in block.tags:
            assert block.text.strip() == printed.strip()


@pytest.mark.slow
def test_from_a_csv_to_an_answer_by_the_readme(tmp_path: Path) -> None:
    """The README's own lines, on a table that is called as there."""
    environment = sandbox(tmp_path)
    people = (ROOT / "examples" / "people.csv").read_text(encoding="utf-8")
    (tmp_path / "people.csv").write_text(people, encoding="utf-8")
    new = (ROOT / "examples" / "new_people.csv").read_text(encoding="utf-8")
    (tmp_path / "new.csv").write_text(new, encoding="utf-8")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    lines = re.findall(
        r"^ {4}((?:python train\.py|tidemill registry|tidemill predict) .*)$", readme, flags=re.MULTILINE
    )
    assert len(lines) == 3
    for line in lines:
        ran(["bash", "-c", line], tmp_path, environment)
    (code,) = [block.text for block in blocks(ROOT / "README.md") if block.language == "python"]
    with_rows = f"import polars as pl\nrows = pl.read_csv('new.csv')\n{code}"
    ran(
        [sys.executable, "-c", with_rows.replace("model.predict(rows)", "print(model.predict(rows))")],
        tmp_path,
        environment,
    )


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=name)
def test_a_notebook_runs_from_its_first_cell_to_its_last(notebook: Path, tmp_path: Path) -> None:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(code) >= 5
    assert all(not cell["outputs"] for cell in cells if cell["cell_type"] == "code"), "clear its outputs"
    ran([sys.executable, "-c", "\n\n".join(code)], tmp_path, sandbox(tmp_path))


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
