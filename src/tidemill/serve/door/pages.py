"""What a service says of itself to who looks: `/`, and `/docs`, a page of its OpenAPI document that loads nothing else.

Both are made from the document alone, so they say no more than /openapi.json does, which everybody may read.
"""

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import msgspec

Document = Mapping[str, Any]

TYPE = b"text/html; charset=utf-8"
POLICY = (b"content-security-policy", b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'")
"""Whatever a column is called, the page can neither load nor send anything."""
_HOST = re.compile(rb"[A-Za-z0-9.\-]+(:\d+)?|\[[0-9A-Fa-f:.]+\](:\d+)?")
_STYLE = """
:root { color-scheme: light dark; --ink: #1d2329; --faint: #e3e6ea; --paper: #fff; --quiet: #5b6570; --mark: #0072b2 }
@media (prefers-color-scheme: dark) {
  :root { --ink: #dfe3e8; --faint: #343a42; --paper: #16191d; --quiet: #9aa3ad; --mark: #56b4e9 }
}
body { font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', sans-serif; color: var(--ink); background: var(--paper);
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
a, .method { color: var(--mark) } .method { font-weight: 600 } .quiet { color: var(--quiet) }
code, pre { font: 13px/1.45 ui-monospace, Menlo, Consolas, monospace }
pre { overflow-x: auto; border: 1px solid var(--faint); border-radius: 4px; padding: .6rem .8rem }
section { border-top: 1px solid var(--faint); margin-top: 1.4rem; padding-top: .4rem } h2 { font-size: 1.05rem }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--faint) }
summary { cursor: pointer; color: var(--quiet) }
"""


def wants_page(accept: bytes) -> bool:
    """Whether a browser asks: one names HTML, programs ask for JSON or for anything."""
    return b"text/html" in accept.lower()


def curl(url: str, body: object, *, keyed: bool) -> str:
    """The line that asks."""
    given = shlex.quote(json.dumps(body, ensure_ascii=False))
    key = ' -H "Authorization: Bearer $KEY"' if keyed else ""
    return f"curl -s {url}/predict -H 'Content-Type: application/json'{key} -d {given}"


class Pages:
    """Made once for each document."""

    def __init__(self) -> None:
        self._of: tuple[bytes, Document] | None = None

    def front(self, document: bytes, host: bytes) -> bytes:
        """`/` as JSON. host: the header by which the service was reached."""
        return msgspec.json.encode(self._front(document, host))

    def front_page(self, document: bytes, host: bytes) -> bytes:
        found = self._front(document, host)
        lines = [
            (f"{one['method']} {one['path']}", one["says"], _need(one["needs a key"])) for one in found["endpoints"]
        ]
        body = [
            f"<h1>{escape(found['model'])} <span class='quiet'>version {escape(found['version'])}</span></h1>",
            "<p>This service answers requests for predictions. <a href='/docs'>What it takes and gives</a>, "
            "<a href='/openapi.json'>the same for programs</a>, <a href='/health'>whether it is well</a>.</p>",
            "<h2>Ask it</h2>",
            f"<pre>{escape(found['example'])}</pre>",
            "<h2>Endpoints</h2>",
            _table(("", "", ""), lines),
        ]
        return _page(found["model"], body)

    def docs(self, document: bytes, host: bytes) -> bytes:
        """`/docs`: every operation with its parameters, example and answers, and the columns of a record."""
        content = self._parsed(document)
        found = self._front(document, host)
        schemas = content["components"]["schemas"]
        body = [
            f"<h1>{escape(content['info']['title'])}</h1>",
            f"<p class='quiet'>Version {escape(found['version'])}. Made from <a href='/openapi.json'>/openapi.json</a>."
            "</p>",
            f"<pre>{escape(found['example'])}</pre>",
            "<section><h2>Columns of a record</h2>",
            _table(("column", "type", "", "values"), _columns(schemas["Row"])),
            "</section>",
            *(_operation(path, method, one) for path, method, one in _operations(content)),
            "<section><h2>Schemas</h2>",
            *(
                f"<details id='{escape(name)}'><summary>{escape(name)}</summary><pre>{_json(schema)}</pre></details>"
                for name, schema in schemas.items()
            ),
            "</section>",
        ]
        return _page(content["info"]["title"], body)

    def _front(self, document: bytes, host: bytes) -> dict[str, Any]:
        content = self._parsed(document)
        predict = content["paths"]["/predict"]["post"]
        asked = predict["requestBody"]["content"]["application/json"]["example"]
        answer = predict["responses"]["200"]["content"]["application/json"]["example"]
        reached = host.decode("ascii") if _HOST.fullmatch(host) else "127.0.0.1:8000"
        return {
            "model": answer["model"],
            "version": answer["version"],
            "endpoints": [
                {"method": method.upper(), "path": path, "says": one["summary"], "needs a key": "security" in one}
                for path, method, one in _operations(content)
            ],
            "example": curl(f"http://{reached}", asked, keyed="security" in predict),
            "answer": answer,
            "documentation": {"people": "/docs", "programs": "/openapi.json"},
        }

    def _parsed(self, document: bytes) -> Document:
        if self._of is None or self._of[0] is not document:
            self._of = document, msgspec.json.decode(document)
        return self._of[1]


def _operations(content: Document) -> list[tuple[str, str, Document]]:
    return [
        (path, method, one)
        for path, item in content["paths"].items()
        for method, one in item.items()
        if method != "parameters"
    ]


def _operation(path: str, method: str, one: Document) -> str:
    parts = [
        f"<section><h2><span class='method'>{method.upper()}</span> <code>{escape(path)}</code> "
        f"<span class='quiet'>{_need('security' in one)}</span></h2>",
        f"<p>{escape(one['summary'])}</p>",
    ]
    parameters = one.get("parameters", ())
    if parameters:
        lines = [(given["name"], given["in"], given.get("description", "")) for given in parameters]
        parts.append(_table(("parameter", "in", ""), lines))
    for kind, content in one.get("requestBody", {}).get("content", {}).items():
        parts.append(f"<p class='quiet'>Body: <code>{escape(kind)}</code>{_schema(content)}</p>")
        if "example" in content:
            parts.append(f"<pre>{_json(content['example'])}</pre>")
    for kind, content in one["responses"]["200"]["content"].items():
        parts.append(f"<p class='quiet'>Answer: <code>{escape(kind)}</code>{_schema(content)}</p>")
        if "example" in content:
            parts.append(f"<pre>{_json(content['example'])}</pre>")
    others = [(status, other["description"]) for status, other in one["responses"].items() if status != "200"]
    parts.append(f"<details><summary>Other answers</summary>{_table(('', ''), others)}</details></section>")
    return "".join(parts)


def _columns(row: Document) -> list[tuple[str, ...]]:
    needed = row.get("required", ())
    return [
        (
            name,
            " or ".join(kind for kind in _types(schema) if kind != "null"),
            "needed" if name in needed else "",
            schema.get("description", ""),
        )
        for name, schema in row["properties"].items()
    ]


def _types(schema: Document) -> list[str]:
    kinds = schema.get("type", [])
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _schema(content: Document) -> str:
    name = content["schema"].get("$ref", "").rpartition("/")[2]
    return f", <a href='#{escape(name)}'>{escape(name)}</a>" if name else ""


def _need(keyed: bool) -> str:
    return "needs a key" if keyed else ""


def _json(content: object) -> str:
    return escape(json.dumps(content, indent=2, ensure_ascii=False))


def _table(head: tuple[str, ...], lines: Sequence[tuple[str, ...]]) -> str:
    def row(cell: str, values: tuple[str, ...]) -> str:
        return f"<tr>{''.join(f'<{cell}>{escape(value)}</{cell}>' for value in values)}</tr>"

    top = f"<thead>{row('th', head)}</thead>" if any(head) else ""
    return f"<div class='scroll'><table>{top}<tbody>{''.join(row('td', line) for line in lines)}</tbody></table></div>"


def _page(title: str, body: list[str]) -> bytes:
    return "".join(
        [
            "<!doctype html><html lang='en'><head><meta charset='utf-8'>",
            "<meta name='viewport' content='width=device-width, initial-scale=1'>",
            f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
            *body,
            "</body></html>\n",
        ]
    ).encode()
