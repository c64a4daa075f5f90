"""However a job ends, a person reads what to do about it, and no secret."""

import errno
import signal
from pathlib import Path

import pytest
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf.errors import InterpolationKeyError
from polars.exceptions import PanicException

from tidemill import ending
from tidemill.errors import SourceError
from tidemill.settings.training import CHECKPOINT
from tidemill.training.sweep import RESULT


def test_what_the_user_can_mend_is_said_in_three_parts() -> None:
    problem = SourceError("A file must exist", observed="none of x://u:hunter2@h", remedy="make one")
    place = "docs/errors.md#sourceerror"
    assert (
        ending.explain(problem)
        == f"SourceError: A file must exist. Got: none of x://u:***@h. Remedy: make one. See {place}"
    )


def test_sentences_end_once() -> None:
    problem = SourceError("A file must exist.", observed="it said so..", remedy="did you mean x?")
    assert str(problem) == "A file must exist. Got: it said so. Remedy: did you mean x?"


def test_a_fault_of_ours_keeps_its_traceback() -> None:
    try:
        raise ZeroDivisionError("at postgresql://me:hunter2@h")
    except ZeroDivisionError as error:
        text = ending.explain(error)
    assert "Traceback" in text and "test_ending.py" in text and "ZeroDivisionError" in text
    assert "hunter2" not in text
    assert text.endswith("This is a fault of Tidemill's, not of your settings or data; please report it.")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG, errno.EACCES, errno.EEXIST])
def test_a_place_that_cannot_be_written_is_named(number: int) -> None:
    text = ending.explain(OSError(number, "No room", "/run/model.onnx"))
    assert text.startswith("TidemillError: The run's folder, and every file that is named, can be read and written.")
    assert "Got: /run/model.onnx: No room." in text
    assert ending.explain(OSError(number, "No room")).count("Got: a file of the run: No room.") == 1


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            ConfigCompositionException("Could not override 'training.max_epoch'.\nfull_key: training.max_epoch"),
            "write training.max_epochs.",
        ),
        (
            ConfigCompositionException(
                "Could not override 'model.width'.\nTo append to your config use +model.width=3"
            ),
            "Remedy: leave model.width out, or choose the model that has it.",
        ),
        (
            MissingConfigException(
                "In 'config': Could not find 'model/tabn'\n\nAvailable options in 'model':\n\tmlp\n\ttabm"
            ),
            "Got: no model=tabn; there are mlp, tabm. Remedy: write model=tabm.",
        ),
        (
            MissingConfigException(
                "In 'config': Could not find 'model/zzz'\n\nAvailable options in 'model':\n\tmlp\n\ttabm"
            ),
            "Remedy: choose one of them, like model=mlp.",
        ),
        (
            ConfigCompositionException("No match.\nTo append to your default list use +experiment=table"),
            "Got: No match. Remedy: write +experiment=table.",
        ),
        (
            ConfigCompositionException("KeyError raised: \"Environment variable 'DB' not found\""),
            "Got: Environment variable 'DB' not found. Remedy: set DB, or write the value in its place.",
        ),
        (
            OverrideParseException(
                "data.path=ä",
                "LexerNoViableAltException: data.path=ä\n   ^\nSee https://hydra.cc/override_grammar/basic",
            ),
            "Got: cannot read data.path=ä. Remedy: quote a value that is not plain, for the shell and for Hydra: ",
        ),
        (ConfigCompositionException("Odd."), "Got: Odd. Remedy: `python train.py --help` shows what there is."),
    ],
)
def test_what_hydra_refuses_is_said_in_our_words(error: Exception, said: str) -> None:
    text = ending.explain(error)
    assert text.startswith("SettingsError: Settings must compose. ")
    assert said in text


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(folder: Path | None) -> str:
        with pytest.raises(SystemExit) as caught, ending.told("python train.py a=b", folder):
            raise KeyboardInterrupt
        assert caught.value.code == 130
        return capsys.readouterr().err

    nothing = "Stopped before the end of an epoch, so there is nothing to go on from. The registry is as it was."
    assert stop(None).endswith(f"{nothing}\n")
    folder = tmp_path / "a run"
    assert stop(folder).endswith(f"{nothing} Begin again:\n  python train.py a=b\n")
    (folder / CHECKPOINT).parent.mkdir(parents=True)
    (folder / CHECKPOINT).touch()
    assert f"  python train.py a=b 'training.resume={folder}'\n" in stop(folder)
    (folder / RESULT).touch()
    assert "Stopped after the version was registered" in stop(folder)


def test_other_errors_end_the_process_with_their_message() -> None:
    with pytest.raises(SystemExit) as caught, ending.told("python train.py"):
        raise SourceError("A", observed="b", remedy="c")
    assert caught.value.code == "SourceError: A. Got: b. Remedy: c. See docs/errors.md#sourceerror"


def test_a_ctrl_c_that_a_library_turned_into_an_error_of_its_own_is_still_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(SystemExit) as caught, ending.told("python train.py"):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise TypeError("'<unprintable str object>' is not a Polars data type") from None
    assert caught.value.code == ending.INTERRUPTED
    assert "so there is nothing to go on from" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


def test_sigterm_says_how_to_go_on_as_ctrl_c_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / CHECKPOINT).parent.mkdir(parents=True)
    (tmp_path / CHECKPOINT).touch()
    before = signal.getsignal(signal.SIGTERM)
    command = "python train.py 'data.path=my table.csv' training.resume=outputs/before"
    with pytest.raises(SystemExit) as caught, ending.told("python train.py"), ending.told(command, tmp_path):
        signal.raise_signal(signal.SIGTERM)
    assert caught.value.code == 143
    said = f"Go on where the run left off:\n  python train.py 'data.path=my table.csv' training.resume={tmp_path}\n"
    assert capsys.readouterr().err.endswith(said)
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_refused_run_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(folder: Path) -> None:
        (folder / ".hydra").mkdir(parents=True)
        (folder / ".hydra" / "config.yaml").touch()
        with pytest.raises(SystemExit), ending.told("python train.py", folder):
            raise SourceError("A", observed="b", remedy="c")

    monkeypatch.chdir(tmp_path)
    refuse(tmp_path / "outputs" / "m" / "now")
    assert not list(tmp_path.iterdir()), "nor the folders around it, that were made for it"
    kept = tmp_path / "outputs" / "m" / "then"
    kept.mkdir(parents=True)
    (kept / "schema.yaml").touch()
    refuse(kept)
    assert (kept / "schema.yaml").is_file() and (kept / ".hydra").is_dir(), "there is work in it"


def test_a_panic_of_polars_does_not_pass_as_a_raw_traceback() -> None:
    with pytest.raises(SystemExit) as caught, ending.told("python train.py"):
        raise PanicException("at the disco")
    assert "please report it" in str(caught.value.code)


def test_a_dollar_in_a_name_is_told_how_to_be_written() -> None:
    error = InterpolationKeyError("Interpolation key 'y' not found\n    full_key: data.target")
    assert "'data.target=\\${y}'" in ending.explain(error)
