"""Small bodies that stand for much, in every protocol: who waits beside them, and how much memory they take.

    python scripts/bench/multiplying.py [--cache FOLDER] [--seconds 4]
    python scripts/bench/multiplying.py --quick

Each is at most some megabytes on the wire and was, or would be, hundreds to thousands of megabytes once it is read. It
is sent to a real `tidemill serve` again and again for so many seconds, a quick run's being .2; /health beside it must
be answered in time. fuzz.py does the same among much else.
"""

import contextlib
import gzip
import io
import json
import struct
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
from parts.benchmark import Options, report
from parts.load import Load, request, run
from parts.mutations import ARROW, INFER, LENGTH
from parts.servers import Server, ask, free_port, ours
from parts.small_model import NAME, prepare, rows_body

_ENTRY, _ROWS = 2**19, 8192
PORT, GRPC = free_port(), free_port()
TARGETS = {"multiplying_p99_ms": {"at_most": 100.0}, "multiplying_memory_mib": {"at_most": 256.0}}
_GRPC = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True)
class Multiplying:
    """One body. path: of HTTP; "" for a message of gRPC's."""

    name: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def bodies(text: str) -> Iterator[Multiplying]:
    """text: a column of the model's, of text."""
    arrow = {"content": ARROW}
    indices = pa.array([0] * _ROWS, pa.int32())
    encoded = pa.table({text: pa.DictionaryArray.from_arrays(indices, pa.array(["a" * _ENTRY]))})
    _, views, content = pa.array(["a" * _ENTRY], pa.string_view()).buffers()
    same = pa.py_buffer(np.tile(np.frombuffer(views, np.uint8)[:16], _ROWS).tobytes())
    viewed = pa.table({text: pa.Array.from_buffers(pa.string_view(), _ROWS, [None, same, content])})
    yield Multiplying("arrow dictionary", "/predict", _stream(encoded), arrow)
    yield Multiplying("arrow views", "/predict", _stream(viewed), arrow)
    yield Multiplying("arrow batches", "/predict", _stream(encoded, 1), arrow)
    for name, value in {"objects": b"{},", "lists": b"[],", "numbers": b"0,"}.items():
        inside = value * (15_000_000 // len(value)) + value[:-1]
        for path, key in (("/predict", b"rows"), ("/feedback", b"labels"), (INFER, b"inputs")):
            sent = gzip.compress(b'{"%s": [%s]}' % (key, inside), 6)
            yield Multiplying(f"json {name} gzip {path}", path, sent, {"Content_Encoding": "gzip"})
    yield Multiplying("json numbers", "/predict", b'{"rows": [' + b"0," * 500_000 + b"0]}")
    yield Multiplying("json blanks gzip", "/predict", gzip.compress(b" " * 16_000_000), {"Content_Encoding": "gzip"})
    size = {"binary_data_size": 40_000}
    entry = {"name": text, "datatype": "BYTES", "shape": [10_000], "parameters": size}
    head = json.dumps({"inputs": [entry]}).encode()
    more = {"content": "application/octet-stream", LENGTH.replace("-", "_"): str(len(head))}
    yield Multiplying("binary texts", INFER, head + struct.pack("<I", 0) * 10_000, more)
    yield from messages(text)


def messages(text: str) -> Iterator[Multiplying]:
    from tidemill.serve.wire.inference.messages import ModelInferRequest

    yield Multiplying("grpc inputs", "", b"\x2a\x00" * 4_000_000)
    yield Multiplying("grpc contents", "", b"\x3a\x00" * 4_000_000)
    made = ModelInferRequest(model_name=NAME)
    entry = made.inputs.add(name=text, datatype="BOOL", shape=[8_000_000])
    entry.contents.bool_contents.extend([True] * 8_000_000)
    yield Multiplying("grpc values", "", made.SerializeToString())


@dataclass(frozen=True)
class Effect:
    """What one body, sent again and again, did. p99: milliseconds that /health took beside it."""

    sent: int
    statuses: tuple[str, ...]
    p99: float
    grown: int


def effect(each: Multiplying, server: Server, ports: tuple[int, int], key: str, seconds: float) -> Effect:
    """Send it on one connection as fast as it is refused, for so long; memory is the most that replicas had, bytes."""
    for pid in server.replicas():
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
    before = {pid: peak(pid) for pid in server.replicas()}
    ended = threading.Event()
    statuses: list[str] = []
    attack = threading.Thread(target=_attack, args=(each, ports, key, ended, statuses))
    attack.start()
    time.sleep(0.2)
    health = request("/health", b"", method="GET")
    seen = run(Load(port=ports[0], requests=[health], connections=8, rate=50.0, seconds=seconds, warmup=0.0))
    ended.set()
    attack.join()
    after = {pid: peak(pid) for pid in server.replicas()}
    grown = max((after[pid] - size for pid, size in before.items() if pid in after), default=0)
    p99 = seen.milliseconds().get("p99", float("inf"))
    return Effect(len(statuses), tuple(sorted({*statuses})), p99, grown)


def measured(server: Server, ports: tuple[int, int], key: str, seconds: float) -> dict[str, Effect]:
    """Of each body, by its name."""
    found = {}
    for each in bodies("text_0"):
        seen = found[each.name] = effect(each, server, ports, key, seconds)
        print(
            f"{each.name:28}{len(each.body):>10,} bytes, sent {seen.sent:>5} times: {', '.join(seen.statuses)}; "
            f"/health p99 {seen.p99:.1f} ms, memory +{seen.grown / 2**20:.0f} MiB",
            flush=True,
        )
    return found


def figures(found: Mapping[str, Effect]) -> dict[str, float]:
    """The worst of all."""
    p99 = max(each.p99 for each in found.values())
    grown = max(each.grown for each in found.values()) / 2**20
    return {"multiplying_p99_ms": round(p99, 1), "multiplying_memory_mib": round(grown, 1)}


def main() -> None:
    from tidemill.serve.door import key_file
    from tidemill.serve.door.keys import Scope

    parser = Options(__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each body (default: %(default)s)")
    chosen = parser.chosen(seconds=0.2)
    model = prepare(chosen.cache / "model")
    with tempfile.TemporaryDirectory(prefix="tidemill-bench-") as folder:
        place = Path(folder)
        key = key_file.create(place / "keys.json", "multiplying", list(Scope))[1]
        first = request("/predict", rows_body(model.rows[:1]), X_API_Key=key)
        settings = [f"ledger.path={place}/ledger", f"keys={place}/keys.json", "--grpc-port", str(GRPC)]
        with ours(model, PORT, first, place / "log", *settings) as server:
            worst = figures(measured(server, (PORT, GRPC), key, chosen.seconds))
    report(__file__, worst, TARGETS)


def peak(pid: int) -> int:
    """The most memory that a process has held, bytes."""
    with contextlib.suppress(OSError, ValueError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    return 0


def _attack(each: Multiplying, ports: tuple[int, int], key: str, ended: threading.Event, statuses: list[str]) -> None:
    if each.path:
        sent = request(each.path, each.body, X_API_Key=key, **{"content": "application/json", **each.headers})
        while not ended.is_set():
            statuses.append(str(ask(ports[0], sent, 60.0)[0]))
        return
    import grpc  # type: ignore[import-untyped]

    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(f"127.0.0.1:{ports[1]}", options=options) as channel:
        call = channel.unary_unary(_GRPC)
        while not ended.is_set():
            try:
                call(each.body, timeout=60.0, metadata=(("x-api-key", key), ("application", "tidemill")))
                statuses.append("OK")
            except grpc.RpcError as error:
                statuses.append(error.code().name)


def _stream(table: pa.Table, chunk: int | None = None) -> bytes:
    target = io.BytesIO()
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_stream(target, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=chunk)
    return target.getvalue()


if __name__ == "__main__":
    main()
