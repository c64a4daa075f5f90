"""The first answer: what `tidemill serve` asks of the server that it has started, and says when it is as it must be."""

import contextlib
import json
import os
import shlex
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import numpy as np

from tidemill.bundle import golden
from tidemill.bundle.predictor import Predictor
from tidemill.bundle.registry.registry import Registry
from tidemill.data.raw import from_rows
from tidemill.errors import BundleError
from tidemill.serve.arguments import Arguments
from tidemill.serve.door import pages
from tidemill.serve.door.endpoints import OWN, OWN_SECRET, UNLOADED
from tidemill.serve.wire import protocol
from tidemill.settings import Objective

_TIMEOUT = 30.0  # seconds for one request
_TRIES, _PAUSE = 20, 0.5  # seconds: replicas take up a change one after another
_AGAIN = (404, 503)  # another version is in use meanwhile, or none yet


def checked(arguments: Arguments, name: str) -> Predictor:
    """A version or alias, verified and replayed in this process too: what is wrong with it is said plainly.

    Raises:
        RegistryError, BundleError, SettingsError: it cannot be served.
    """
    with Registry(arguments.registry).fetched(arguments.model, name, verify=False) as folder:
        return Predictor(
            folder, threads=arguments.threads, provider=arguments.provider, public_key=arguments.public_key
        )


def announce(url: str, arguments: Arguments, predictor: Predictor, say: Callable[[str], None]) -> str | None:
    """Say what answers at `url` and how it is asked; returns what has been checked, or None: the model is unloaded.

    Args:
        predictor: what served when the start began.

    Raises:
        BundleError: no answer, or another one than the bundle gives; with keys: nobody is refused.
    """
    if arguments.keys is not None:
        rows = protocol.rows_of(predictor.golden.raw, predictor.columns, 1)
        found = _health(url)
        _refused(url, rows)
        if found["status"] == UNLOADED:
            _say_unloaded(url, arguments, say)
            return None
        say(f"Serving {found['model']} version {found['version']} at {url}\n\nAsk it with a key of yours:")
        say(f"{pages.curl(url, {'rows': rows}, keyed=True)}\n")
        return "Checked: it is ready, and answers nobody without a key."
    answered = _answer(url, arguments, predictor)
    if answered is None:
        _say_unloaded(url, arguments, say)
        return None
    rows, answer = answered
    line = pages.curl(url, {"rows": rows}, keyed=False)
    say(f"Serving {answer['model']} version {answer['version']} at {url}\n\nAsk it:\n{line}\n")
    say("It answers:\n" + json.dumps(answer, indent=2, ensure_ascii=False))
    return "Checked: the answer over HTTP is the bundle's own."


def load_command(arguments: Arguments) -> str:
    return shlex.join(["tidemill", "registry", "load", arguments.model, "--registry", arguments.registry])


def _say_unloaded(url: str, arguments: Arguments, say: Callable[[str], None]) -> None:
    say(f"Ready at {url}, but {arguments.model} is unloaded: every request gets 503 until it is loaded.\n\nLoad it:")
    say(f"{load_command(arguments)}\n")


def _answer(url: str, arguments: Arguments, predictor: Predictor) -> tuple[list[dict[str, Any]], dict[str, Any]] | None:
    """A record and the verified answer of the version in use, by its number: a canary may answer any other question.

    Somebody may have promoted another version meanwhile, and may do so between two of these questions.
    """
    own = {OWN: os.environ.get(OWN_SECRET, "")}
    for tries in range(_TRIES):
        time.sleep(_PAUSE if tries else 0)
        health = _health(url)
        if health["status"] == UNLOADED:
            return None
        version = health["version"]
        if version != predictor.manifest.identity.version:
            predictor = checked(arguments, version)
        rows = protocol.rows_of(predictor.golden.raw, predictor.columns, 1)
        status, text = _asked(f"{url}/predict", {"rows": rows, "version": version}, own)
        if status == 200:
            answer: dict[str, Any] = json.loads(text)
            _verify(answer, rows, predictor)
            return rows, answer
        if status not in _AGAIN:
            break
    raise _unlike("A server that has started answers a real record", status, text)


def _refused(url: str, rows: list[dict[str, Any]]) -> None:
    """Nobody's key is known here, so a record can only be refused."""
    status, text = _asked(f"{url}/predict", {"rows": rows})
    if status != 401:
        raise _unlike("A server with keys refuses who has none", status, text)


def _health(url: str) -> dict[str, Any]:
    """What a replica says of itself, once the proxy knows where it is."""
    for tries in range(_TRIES):
        time.sleep(_PAUSE if tries else 0)
        status, text = _asked(f"{url}/health")
        with contextlib.suppress(ValueError):
            found: dict[str, Any] = json.loads(text)
            if status == 200 or (status == 503 and found.get("status") == UNLOADED):
                return found
        if status not in _AGAIN:
            break
    raise _unlike("A server that has started is ready", status, text)


def _asked(
    url: str, content: dict[str, Any] | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Status and body of an answer."""
    body = None if content is None else msgspec.json.encode(content)
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **(headers or {})})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a proxy
    try:
        with opener.open(request, timeout=_TIMEOUT) as response:
            return response.status, response.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:  # nobody listens yet, or not soon enough on a busy machine
        return 503, f"no answer: {getattr(error, 'reason', error)}"


def _unlike(rule: str, status: int, text: str) -> BundleError:
    remedy = "see the server's log, and that no other server answers at this address"
    return BundleError(rule, observed=f"{status}: {text[:1000]}", remedy=remedy)


def _verify(answer: dict[str, Any], rows: list[dict[str, Any]], predictor: Predictor) -> None:
    """The answer that came over HTTP is the one that the bundle gives here."""
    expected = predictor.predict(from_rows(rows, predictor.columns))
    prediction = answer["predictions"][0]
    if predictor.manifest.identity.objective is Objective.REGRESSION:
        name, got = "value", [prediction["value"]]
    else:
        name, got = "probabilities", list(prediction["probabilities"].values())
    if not golden.same(np.array([got], dtype=np.float32), expected[name].reshape(1, -1)).all():
        raise BundleError(
            "An answer over HTTP is the bundle's own",
            observed=f"{name} {got} instead of {expected[name][0]}",
            remedy="see that no other server answers at this address",
        )
