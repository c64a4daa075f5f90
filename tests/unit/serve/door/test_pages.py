"""What a service says at `/` and `/docs`: from its OpenAPI document alone, and safe whatever a column is called."""

import asyncio
import json
import shlex
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from serving_parts import OTHERS, Got, arguments, call, started, varied

from small_bundle import Small
from tidemill.bundle.predictor import Predictor
from tidemill.bundle.registry.registry import Registry
from tidemill.data.schema import Column, Role
from tidemill.serve.door import key_file, openapi, pages
from tidemill.settings import Kind

EVIL = "<script>alert('x')</script>&'"


@pytest.fixture(scope="module")
def registry(small_multiclass: Small, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    place = tmp_path_factory.mktemp("pages")
    registry = Registry(place / "registry")
    evil = Column(name=EVIL, kind=Kind.CATEGORICAL, role=Role.IGNORED)
    registry.add("small", varied(small_multiclass.folder, place / "one", columns=(*OTHERS, evil)))
    registry.promote("small", "1", by="me", reason="first")
    return registry


def asked(registry: Registry, path: str, *headers: Any, body: bytes | None = None, **more: Any) -> Got:
    async def main() -> Any:
        async with started(arguments(registry.path, **more)) as replica:
            given = [("Host", "models.example:8000"), *headers]
            method, parts = ("GET", ()) if body is None else ("POST", (body,))
            return await call(replica.application, method, path, *parts, headers=given)

    return asyncio.run(main())


class Parsed(HTMLParser):
    def __init__(self, body: bytes) -> None:
        super().__init__()
        self.tags, self.links, self.text, self.ids = [], [], [], []
        self.feed(body.decode())

    def handle_starttag(self, tag: str, attributes: list[Any]) -> None:
        found = dict(attributes)
        self.tags.append(tag)
        self.links += [found[name] for name in ("href", "src") if name in found]
        self.ids += [found["id"]] if "id" in found else []

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_programs_are_told_what_it_is_and_the_example_works(registry: Registry) -> None:
    got = asked(registry, "/")
    assert got.status == 200 and got.headers["vary"] == "accept"
    assert (got.json["model"], got.json["version"]) == ("small", "1")
    assert got.json["example"].startswith("curl -s http://models.example:8000/predict -H 'Content-Type: ")
    body = shlex.split(got.json["example"])[-1].encode()
    answer = asked(registry, "/predict", ("Content-Type", "application/json"), body=body)
    assert answer.status == 200 and len(answer.json["predictions"]) == 1
    assert {"method": "POST", "path": "/predict"}.items() <= got.json["endpoints"][2].items()
    assert got.json["documentation"] == {"people": "/docs", "programs": "/openapi.json"}


@pytest.mark.parametrize("path", ["/", "/docs"])
@pytest.mark.parametrize("keys", [False, True])
def test_pages_load_nothing_and_say_what_the_document_says(
    registry: Registry, tmp_path: Path, path: str, keys: bool
) -> None:
    more = {}
    if keys:
        key_file.create(tmp_path / "keys.json", name="app", scopes=["predict"])
        more = {"keys": str(tmp_path / "keys.json")}
    got = asked(registry, path, ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8"), **more)
    assert got.status == 200 and got.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in got.headers["content-security-policy"]
    page = Parsed(got.body)
    assert "script" not in page.tags and "img" not in page.tags
    here = {f"#{id}" for id in page.ids}
    assert all(link in here or link in ("/docs", "/openapi.json", "/health") for link in page.links)
    text = " ".join(page.text)
    assert "curl -s http://models.example:8000/predict" in text
    assert ("$KEY" in text) is keys and ("needs a key" in text) is keys
    assert "prefers-color-scheme: dark" in got.body.decode()
    if path == "/docs":
        assert EVIL in text and "Recorded; the model does not see it." in text
        for said in ("/feedback", "X-Request-Timeout-Seconds", "application/vnd.apache.arrow.stream", "always needed"):
            assert said in text


@pytest.mark.parametrize("host", [b"evil.example/'><script>", b"", b"[::1]:8000", b"a b"])
def test_a_host_that_is_none_stands_on_no_page(small_multiclass: Small, host: bytes) -> None:
    document = openapi.document(Predictor(small_multiclass.folder))
    line = json.loads(pages.Pages().front(document, host))["example"]
    assert line.startswith(f"curl -s http://{'[::1]:8000' if host.startswith(b'[') else '127.0.0.1:8000'}/predict")


def test_another_version_has_other_pages(small_multiclass: Small) -> None:
    document = openapi.document(Predictor(small_multiclass.folder))
    made = pages.Pages()
    one = made.docs(document, b"")
    assert made.docs(document, b"") == one
    assert made.docs(document.replace(b'"Predictions of small"', b'"Predictions of other"'), b"") != one
