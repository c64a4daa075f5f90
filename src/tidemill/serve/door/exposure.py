"""Who can reach the server: this machine alone, unless keys are set or somebody says that it is meant; and no page."""

import ipaddress
import socket
from collections.abc import Collection, Mapping
from pathlib import Path
from urllib.parse import unquote

from tidemill.errors import SettingsError
from tidemill.serve.wire.refusals import refused

_OURS = frozenset(b"%s:%d" % (name, port) for name in (b"127.0.0.1", b"localhost") for port in (8000, 80))
"""What most requests say, so that it costs nothing to look."""


def check(host: str, keys: Path | None, override: bool) -> None:
    """Pass an address that only this machine can reach, and any other where there are keys or `override`.

    Args:
        host: an address or a name, as the server will bind it; empty: every interface.
        keys: the file of API keys, if one is set.

    Raises:
        SettingsError: other machines could ask without a key.
    """
    if keys is None and not override and not is_loopback(host):
        raise SettingsError(
            "A server that other machines can reach asks for API keys",
            observed=f"{host or 'every interface'}, and no keys",
            remedy="make keys: tidemill keys create --file keys.json --name app --scopes predict,feedback; serve with "
            "keys=keys.json; or serve on 127.0.0.1; or, behind a gateway that lets nobody else in, with --insecure",
        )


def check_host(headers: Mapping[bytes, bytes], hosts: Collection[str] | None) -> None:
    """On loopback and without keys, a page could have its own name stand for 127.0.0.1 (DNS rebinding) and would then
    be of no other site; but a browser says by which name it asks.

    Args:
        hosts: names that are let in besides loopback's own; None: all are.

    Raises:
        RequestError: 421, the request is for another name. One without `Host` comes from no browser.
    """
    given = headers.get(b"host")
    if hosts is None or given is None or given in _OURS:
        return
    name = _name(given.decode("latin-1"))
    if name == "localhost" or name.endswith(".localhost") or name in {host.lower() for host in hosts}:
        return
    try:
        if _is_own(ipaddress.ip_address(name)):
            return
    except ValueError:
        pass
    rule = "A server on loopback without keys answers requests for this machine's own names"
    error = refused(
        421,
        rule,
        f"Host: {name[:100]}",
        "ask it by 127.0.0.1 or localhost; or, where a gateway on this machine asks by another name, set "
        "hosts='[NAME]'; or set keys",
    )
    error.reason = "host"
    raise error


def _name(host: str) -> str:
    """Of `name:port` or `[address]:port`, without the port."""
    bare = host.strip().lower()
    if bare.startswith("["):
        return bare[1:].partition("]")[0]
    return bare.partition(":")[0].rstrip(".")


def check_site(headers: Mapping[bytes, bytes]) -> None:
    """Without keys, a browser on a machine that reaches the server would do for any page what the page asks.

    Raises:
        RequestError: 403, a page of another site had it sent. Programs that are no browsers send neither header, and
            no page can change them. Old browsers send `Origin` alone.
    """
    site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    if site is not None and site not in (b"same-origin", b"none"):  # of which no other is known to be one's own
        observed = f"Sec-Fetch-Site: {site[:40].decode('latin-1')}"
    elif (
        site is None and origin is not None and origin.partition(b"://")[2].lower() != headers.get(b"host", b"").lower()
    ):
        observed = f"Origin: {origin[:100].decode('latin-1')}"
    else:
        return
    rule = "A server without keys takes nothing that a web page of another site has a browser send"
    error = refused(403, rule, observed, "serve with keys=FILE, and have the page's own server ask with a key")
    error.reason = "site"
    raise error


def is_loopback(host: str) -> bool:
    """Whether every address that `host` stands for is one of this machine's own loopback."""
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    try:
        addresses = [ipaddress.ip_address(bare)]
    except ValueError:
        addresses = _resolved(bare)
    return bool(addresses) and all(map(_is_own, addresses))


def is_own_peer(peer: str) -> bool:
    """Whether a call came from this machine. peer: as gRPC names it, like `ipv4:127.0.0.1:50412`."""
    kind, _, rest = unquote(peer).partition(":")
    if kind == "unix":
        return True
    host = rest.rpartition(":")[0].strip("[]")
    try:
        return _is_own(ipaddress.ip_address(host))
    except ValueError:
        return False


def _resolved(name: str) -> list[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    """None for a name that stands for nothing: what cannot be known is not taken for safe."""
    if not name:
        return []
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
        return [ipaddress.ip_address(str(address[0])) for *_, address in found]
    except (OSError, UnicodeError, ValueError):
        return []


def _is_own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
