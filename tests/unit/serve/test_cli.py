import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from small_bundle import Small
from tidemill import cli
from tidemill.bundle.registry.registry import Registry
from tidemill.commands import registry as registry_command
from tidemill.serve.on_ray import local


@pytest.fixture
def registry(small_multiclass: Small, tmp_path: Path) -> Registry:
    registry = Registry(tmp_path / "registry")
    for _ in range(2):
        registry.add("small", small_multiclass.folder)
    return registry


def run(capsys: pytest.CaptureFixture[str], *words: Any) -> tuple[int | str, ...]:
    status = cli.main(words)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_list_promote_rollback_show(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    at = ("--registry", registry.path)
    assert run(capsys, "registry", "promote", "small", "1", *at) == (0, "small: champion is version 1\n", "")
    assert run(capsys, "registry", "promote", "small", "2", "--reason", "better", *at)[0] == 0
    assert run(capsys, "registry", "promote", "small", "1", "--to", "challenger", *at)[0] == 0
    status, out, _ = run(capsys, "registry", "list", *at)
    lines = out.splitlines()
    assert status == 0 and lines[0].split()[:4] == ["model", "version", "aliases", "made"]
    assert lines[2].split()[:3] == ["small", "2", "champion"], "the newest first"
    assert lines[3].split()[:3] == ["small", "1", "challenger"]
    assert run(capsys, "registry", "rollback", "small", *at)[1] == "small: champion is version 1 again\n"
    status, out, _ = run(capsys, "registry", "show", "small", *at)
    assert status == 0 and out.startswith("small version 1 (champion)\nMade 20") and "(rollback)" in out
    assert "better" not in out, "that was about the other version"
    status, out, _ = run(capsys, "registry", "show", "small", "2", *at)
    assert status == 0 and "version 2 became champion, by " in out and "      better\n" in out


def test_load_undoes_unload(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    at = ("--registry", registry.path)
    status, _, err = run(capsys, "registry", "unload", "small", *at)
    assert status == 1 and "small/champion" in err, "nothing serves yet"
    registry.promote("small", "1", by="me", reason="first")
    status, out, _ = run(capsys, "registry", "unload", "small", "--reason", "a leak", *at)
    assert status == 0 and out == "small: version 1 answers no request until `tidemill registry load small`\n"
    assert registry.desired("small").serving is False and "unloaded" in run(capsys, "registry", "list", *at)[1]
    assert run(capsys, "registry", "load", "small", *at) == (0, "small: version 1 answers requests\n", "")
    assert registry.desired("small").serving is True
    lines = run(capsys, "registry", "history", "small", *at)[1].splitlines()
    assert "version 1 answers no requests (unload), by " in lines[-4] and lines[-3] == "    a leak"
    assert "version 1 answers requests again (load), by " in lines[-2] and lines[-1] == "    by hand"


def test_an_empty_registry_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "registry", "list", "--registry", str(tmp_path))
    assert status == 0 and "No models" in out and "train.py" in out
    status, out, _ = run(capsys, "registry", "list", "ghost", "--registry", str(tmp_path))
    assert status == 0 and "No models" in out


def test_a_model_that_is_not_there_is_told_from_an_empty_registry(
    registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, "registry", "list", "ghost", "--registry", registry.path)
    assert status == 0 and out == f"No model 'ghost' in {registry.path}. There are small.\n"


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("registry", "show", "ghost"), "RegistryError: .*ghost/champion in .*there is no model in it"),
        (("registry", "promote", "ghost", "1"), "RegistryError"),
        (("registry", "rollback", "ghost"), "RegistryError"),
        (("registry", "show", "../ghost"), "letters, digits"),
        (("serve", "--model", "ghost", "--check"), "RegistryError: .*ghost/champion"),
    ],
)
def test_mistakes_end_in_one_line_and_status_1(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], text: str
) -> None:
    status, _, err = run(capsys, *words, "--registry", str(tmp_path))
    assert status == 1 and re.search(text, err) and "Traceback" not in err and err.count("\n") == 1


def test_a_port_in_use_is_named_before_ray_starts(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    registry.promote("small", "1", by="me", reason="first")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        status, _, err = run(capsys, "serve", "--model", "small", "--port", str(port), "--registry", registry.path)
    assert status == 1 and f"127.0.0.1:{port}" in err and "in use" in err and f"--port {port + 1}" in err
    assert run(capsys, "serve", "--model", "small", "--port", "99999", "--registry", registry.path)[0] == 1


def make_key(path: Path) -> None:
    make = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(path)]
    subprocess.run(make, check=True, capture_output=True)


def test_sign_puts_a_signature_into_a_version(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = tmp_path / "key.pem"
    make_key(key)
    at = ("--private-key", str(key), "--registry", registry.path)
    assert run(capsys, "registry", "sign", "small", "2", *at) == (0, "small: version 2 is signed\n", "")
    with registry.fetched("small", "2") as folder:
        assert (folder / "model.sig").is_file()
    status, _, err = run(capsys, "registry", "sign", "small", *at)
    assert status == 1 and "RegistryError" in err and "small/champion" in err


def test_keys_are_made_listed_and_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys.json"
    at = ("--file", str(file))
    more = ("--scopes", "predict,metrics", "--rate", "100", "--expires", "2999-01-01")
    status, out, err = run(capsys, "keys", "create", "--name", "app", *more, *at)
    assert status == 0 and re.fullmatch(r"tm_[0-9a-f]{8}_[0-9a-f]{64}\n", out) and "not shown again" in err
    _, id, secret = out.strip().split("_")
    assert secret not in err and secret not in file.read_text() and file.stat().st_mode & 0o777 == 0o600
    assert run(capsys, "keys", "create", "--name", "other", *at)[0] == 0
    lines = run(capsys, "keys", "list", *at)[1].splitlines()
    assert lines[0].split() == ["id", "name", "scopes", "rate", "created", "expires"]
    first = lines[2].split()
    assert first[:4] == [id, "app", "predict,metrics", "100/s"] and first[5] == "2999-01-01"
    assert lines[3].split()[1:4] == ["other", "predict,feedback", "any"] and lines[3].endswith("never")
    assert run(capsys, "keys", "revoke", id, *at) == (0, f"The key {id} of 'app' is no longer valid\n", "")
    assert id not in run(capsys, "keys", "list", *at)[1]
    status, _, err = run(capsys, "keys", "revoke", id, *at)
    assert status == 1 and "A key that is revoked is in the file" in err


def test_a_file_without_keys_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys.json"
    file.write_text('{"format": 1, "keys": []}')
    assert run(capsys, "keys", "list", "--file", str(file)) == (0, f"No keys in {file}.\n", "")
    for words in (("list",), ("revoke", "abcd")):
        status, _, err = run(capsys, "keys", *words, "--file", str(tmp_path / "none"))
        assert status == 1 and "tidemill keys create --file" in err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--scopes", "predict,everything"), "'everything' is not one of predict, feedback, feedback-all, metrics"),
        (("--rate", "0"), "not a number greater than 0"),
        (("--rate", "many"), "not a number greater than 0"),
        (("--expires", "soon"), "'soon' is not a date like 2027-01-01"),
    ],
)
def test_keys_of_nonsense_are_wrong_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], text: str
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["keys", "create", "--name", "app", "--file", str(tmp_path / "keys.json"), *words])
    assert text in capsys.readouterr().err and not (tmp_path / "keys.json").exists()


def test_wrong_usage_is_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["registry", "promote", "small", "1", "--to", "king"])
    assert caught.value.code == 2 and "champion" in capsys.readouterr().err


@pytest.mark.parametrize("threads", ["0", "-1", "many", "1.5"])
def test_threads_are_a_whole_number(threads: str, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = run(capsys, "serve", "--model", "m", f"threads={threads}")
    assert status == 1 and re.search(rf"SettingsError: (?s:.*)threads = '?{threads}'?: must be", err)


OBSERVER = """
from tidemill.serve.hooks.observer import Observer

class Slow(Observer):
    def __init__(self, path: str) -> None:
        open(path, "w")
"""


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        ("keys={}/none.json", "A file of API keys exists before it is used"),
        ("provider=cdua", "The provider that is asked for must be the one in use .*'cdua'"),
        ("observers={{{}/none.py:Slow: {{}}}}", "An observer's module can be imported"),
        ("observers={{{}/slow.py:Slwo: {{}}}}", "did you mean Slow"),
        ("observers={{{}/slow.py:Slow: {{pth: x}}}}", "An observer can be made from its options.*path"),
        ("ledger.columns={{ctiy: mask}}", "Each name in ledger.columns must be a column .*ctiy"),
        ("ledger.hash_key_file={}/none", "The key for digests must have 16 bytes .*No such file"),
        ("ledger.hash_key_file={}/slow.py", None),
        ("observers={{{}/slow.py:Slow: {{path: {}/made}}}}", None),
        ("public_key={}/none.pem", "The public key is a PEM file"),
        ("public_key={}/key.pub ledger.columns={{ctiy: mask}}", None),  # no signature is looked at yet
    ],
)
def test_what_settings_name_is_looked_at_before_ray_starts(
    registry: Registry,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    text: str | None,
) -> None:
    class StartedError(Exception):
        pass

    def ray(*_: Any) -> None:
        raise StartedError

    registry.promote("small", "1", by="me", reason="first")
    (tmp_path / "slow.py").write_text(OBSERVER)
    make_key(tmp_path / "key.pem")
    public = ["openssl", "ec", "-in", str(tmp_path / "key.pem"), "-pubout", "-out", str(tmp_path / "key.pub")]
    subprocess.run(public, check=True, capture_output=True)
    monkeypatch.setattr(local, "_ray", ray)
    settings = [word.format(tmp_path, tmp_path) for word in re.split(r" (?=ledger)", setting)]
    words = ("serve", "--model", "small", "--port", "0", "--registry", registry.path, *settings)
    if text is None:
        with pytest.raises(StartedError):
            cli.main(words)
        assert not (tmp_path / "made").exists(), "observers are made in replicas only"
    else:
        status, _, err = run(capsys, *words)
        assert status == 1 and re.search(text, err) and err.count("\n") == 1, err


def test_other_machines_are_let_in_with_keys_only(registry: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    for host in ("0.0.0.0", "::"):
        status, _, err = run(capsys, "serve", "--model", "small", "--host", host, "--registry", registry.path)
        assert status == 1 and f"Got: {host}, and no keys" in err and "tidemill keys create" in err


def test_ctrl_c_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(parsed: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(registry_command, "_list", interrupted)
    assert cli.main(["registry", "list"]) == 130


def test_help_needs_nothing_heavy() -> None:
    code = "import sys, tidemill.cli; assert not {'ray', 'onnx', 'onnxruntime', 'torch', 'fsspec'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
def test_serving_needs_no_torch() -> None:
    code = "import sys, tidemill.serve.on_ray.app, tidemill.serve.on_ray.local; bad = {'torch', 'lightning', "
    code += "'hydra', 'wandb', 'sklearn', 'lightgbm', 'spox', 'plotly'} & set(sys.modules); assert not bad, bad"
    subprocess.run([sys.executable, "-c", code], check=True)
