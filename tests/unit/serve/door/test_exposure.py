import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from serving_parts import arguments, call, started

from tidemill.bundle.registry.registry import Registry
from tidemill.errors import RequestError, SettingsError
from tidemill.serve.door import exposure

OWN = ["127.0.0.1", "127.8.9.10", "127.1", "::1", "[::1]", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "localhost"]
OPEN = ["0.0.0.0", "0", "::", "[::]", "", "*", "10.1.2.3", "192.168.0.1", "::ffff:10.1.2.3", "fe80::1", "2001:db8::1"]


@pytest.mark.parametrize("host", OWN)
def test_this_machine_alone_needs_no_keys(host: str) -> None:
    exposure.check(host, None, False)


@pytest.mark.parametrize("host", [*OPEN, "no such name", "x" * 300, "a..b", "\0"])
def test_others_are_let_in_with_keys_or_by_intent_only(host: str) -> None:
    with pytest.raises(
        SettingsError, match=r"asks for API keys\..*and no keys\. Remedy: make keys: tidemill keys create"
    ):
        exposure.check(host, None, False)
    exposure.check(host, Path("keys.json"), False)
    exposure.check(host, None, True)


def test_a_name_with_one_address_outside_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [(socket.AF_INET, 1, 6, "", ("127.0.0.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answers)
    assert exposure.is_loopback("server.example")
    answers.append((socket.AF_INET, 1, 6, "", ("10.0.0.7", 0)))
    assert not exposure.is_loopback("server.example")


@pytest.mark.parametrize(
    ("peer", "own"),
    [
        ("ipv4:127.0.0.1:50412", True),
        ("ipv4:127.9.9.9:1", True),
        ("ipv6:%5B::1%5D:50412", True),
        ("ipv6:[::ffff:127.0.0.1]:50412", True),
        ("unix:", True),
        ("unix:/tmp/socket", True),
        ("ipv4:192.0.2.2:50412", False),
        ("ipv6:%5Bfd00::2%5D:50412", False),
        ("ipv6:[::ffff:192.0.2.2]:1", False),
        ("ipv4:127.0.0.1.example:1", False),
        ("", False),
        ("nonsense", False),
    ],
)
def test_who_calls_from_this_machine(peer: str, own: bool) -> None:
    assert exposure.is_own_peer(peer) is own


def _host(name: str | None, *hosts: str) -> None:
    exposure.check_host({} if name is None else {b"host": name.encode("latin-1")}, hosts)


@pytest.mark.parametrize(
    "name",
    [
        None,
        "127.0.0.1:8000",
        "127.0.0.1:18101",
        "localhost",
        "LocalHost:80",
        "app.localhost:3000",
        "[::1]:8000",
        "127.9.9.9",
        "localhost.:80",
    ],
)
def test_requests_for_this_machines_own_names_are_answered(name: str | None) -> None:
    _host(name)


@pytest.mark.parametrize(
    "name",
    [
        "evil.example",
        "evil.example:8000",
        "",
        "127.0.0.1.evil.example",
        "10.0.0.7:80",
        "localhost.evil.example",
        "[::2]",
    ],
)
def test_a_page_whose_name_is_made_to_stand_for_loopback_is_answered_nothing(name: str) -> None:
    with pytest.raises(RequestError, match=r"this machine's own names\. Got: Host:") as refused:
        _host(name)
    assert refused.value.status == 421 and refused.value.reason == "host"
    _host("gate.example:443", "Gate.example")
    with pytest.raises(RequestError):
        _host("other.example", "gate.example")
    exposure.check_host({b"host": name.encode()}, None)  # with keys, or behind a gateway, names are not looked at


@pytest.mark.parametrize("site", ["cross-site", "same-site", "cross-origin", "", "SAME-ORIGIN", "x" * 10_000])
def test_what_a_browser_does_not_call_its_own_site_is_another(site: str) -> None:
    with pytest.raises(RequestError, match="of another site") as refused:
        exposure.check_site({b"sec-fetch-site": site.encode()})
    assert refused.value.status == 403 and len(refused.value.observed) < 100
    for own in (b"same-origin", b"none"):
        exposure.check_site({b"sec-fetch-site": own, b"origin": b"https://gate.example", b"host": b"127.0.0.1"})


def test_a_rebound_name_can_neither_predict_nor_label_nor_unload_nor_read(
    small_multiclass: Any, tmp_path: Path
) -> None:
    registry = Registry(tmp_path / "registry")
    registry.promote("small", registry.add("small", small_multiclass.folder), by="me", reason="first")

    async def main() -> None:
        async with started(arguments(registry.path, here=True, hosts=["gate.example"])) as replica:
            for method, path in (
                *(("POST", path) for path in ("/predict", "/feedback", "/v2/repository/models/small/unload")),
                *(("GET", path) for path in ("/health", "/metrics", "/profile", "/v2/models/small", "/openapi.json")),
            ):
                for host, answered in (("evil.example", False), ("gate.example", True), ("127.0.0.1:80", True)):
                    got = await call(replica.application, method, path, headers=[("Host", host)])
                    assert got is not None and (got.status != 421) is answered

    asyncio.run(main())
