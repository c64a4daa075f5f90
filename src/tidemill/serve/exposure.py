"""Who can reach the server: this machine alone, unless keys are set or somebody says that it is meant; and no page."""

import ipaddress
import socket
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote

from tidemill.errors import SettingsError
from tidemill.serve.protocol import refused


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


def check_site(headers: Mapping[bytes, bytes]) -> None:
    """Without keys, a browser on a machine that reaches the server would do for any page what the page asks.

    Raises:
        RequestError: 403, a page of another site had it sent. Programs that are no browsers send neither header, and
            no page can change them. Old browsers send `Origin` alone.
    """
    site, origin = headers.get(b"sec-fetch-site"), headers.get(b"origin")
    if site in (b"cross-site", b"same-site"):
        observed = f"Sec-Fetch-Site: {site.decode()}"
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
