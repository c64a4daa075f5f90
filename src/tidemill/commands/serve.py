"""`tidemill serve`: answer requests over HTTP and gRPC on this machine, until Ctrl-C."""

import argparse
import dataclasses
import os
from typing import Any

from tidemill.commands.output import say


def add(parser: argparse.ArgumentParser) -> None:
    parser.set_defaults(command=run)
    parser.add_argument("--registry", default="registry", help="a folder or an fsspec URL (default: %(default)s)")
    parser.add_argument("--model", required=True, help="its name in the registry")
    parser.add_argument("--alias", default="champion", help="or a version's number, to stay with it")
    parser.add_argument("--host", default="127.0.0.1", help="others than loopback need keys (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="(default: %(default)s)")
    parser.add_argument("--grpc-port", type=int, help="serve the Open Inference Protocol over gRPC, too")
    parser.add_argument("--plain-proxy", action="store_true", help="Ray's own proxy, slower, in place of HAProxy")
    parser.add_argument("--insecure", action="store_true", help="let other machines in without keys")
    parser.add_argument("--check", action="store_true", help="stop after one verified answer")
    parser.add_argument(
        "settings",
        nargs="*",
        metavar="KEY=VALUE",
        help="any setting of tidemill.serve.arguments.Arguments, like replicas=2 ledger.path=null limits.rows=100",
    )


def run(parsed: argparse.Namespace) -> None:
    """Start Ray Serve with a model of the registry, and keep serving."""
    from tidemill.serve.arguments import parse
    from tidemill.serve.door import exposure
    from tidemill.serve.on_ray import ingress, local

    given: dict[str, Any] = {"registry": parsed.registry, "model": parsed.model, "alias": parsed.alias}
    arguments = parse(given, parsed.settings).absolute(os.getcwd())  # noqa: PTH109 — replicas run in other folders
    exposure.check(parsed.host, arguments.keys, parsed.insecure)
    if exposure.is_loopback(parsed.host):
        hosts = (*arguments.hosts, parsed.host)
        arguments = dataclasses.replace(arguments, here=True, hosts=hosts)
    address = local.Address(
        host=parsed.host,
        port=parsed.port,
        grpc=parsed.grpc_port,
        haproxy=ingress.has_haproxy() and not parsed.plain_proxy,
    )
    local.run(arguments, address, until_checked=parsed.check, say=say)
