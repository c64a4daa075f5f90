import socket
from pathlib import Path

import pytest

from tidemill.errors import SettingsError
from tidemill.serve import exposure

OWN = ["127.0.0.1", "127.8.9.10", "127.1", "::1", "[::1]", "0:0:0:0:0:0:0:1", "::ffff:127.0.0.1", "localhost"]
OPEN = ["0.0.0.0", "0", "::", "[::]", "", "*", "10.1.2.3", "192.168.0.1", "::ffff:10.1.2.3", "fe80::1", "2001:db8::1"]


@pytest.mark.parametrize("host", OWN)
def test_this_machine_alone_needs_no_keys(host):
    exposure.check(host, None, False)


@pytest.mark.parametrize("host", [*OPEN, "no such name", "x" * 300, "a..b", "\0"])
def test_others_are_let_in_with_keys_or_by_intent_only(host):
    with pytest.raises(
        SettingsError, match=r"asks for API keys\..*and no keys\. Remedy: make keys: tidemill keys create"
    ):
        exposure.check(host, None, False)
    exposure.check(host, Path("keys.json"), False)
    exposure.check(host, None, True)


def test_a_name_with_one_address_outside_is_open(monkeypatch):
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
def test_who_calls_from_this_machine(peer, own):
    assert exposure.is_own_peer(peer) is own
