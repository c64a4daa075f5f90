import gzip
import zlib

import pytest

from tidemill.errors import RequestError
from tidemill.serve.wire.compression import chosen, decoded, encoded

BODY = b'{"rows":[]}' * 200


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (BODY, ""),
        (BODY, "identity"),
        (gzip.compress(BODY), "gzip"),
        (gzip.compress(BODY), " X-GZIP "),
        (gzip.compress(BODY[:9]) + gzip.compress(BODY[9:]), "gzip"),
        (zlib.compress(BODY), "deflate"),
        (raw_deflate(BODY), "deflate"),
    ],
)
def test_a_body_is_what_it_was(body: bytes, encoding: str) -> None:
    assert decoded(body, encoding, len(BODY)) == BODY


@pytest.mark.parametrize(
    ("body", "encoding", "status", "expected"),
    [
        (BODY, "br", 415, "A body is encoded with gzip, deflate or not at all. Got: br"),
        (BODY, "gzip, gzip", 415, "Got: gzip, gzip"),
        (BODY, "gzip", 400, "A compressed body is whole and undamaged. Got: gzip: no valid data"),
        (b"\xff" * 50, "deflate", 400, "Got: deflate: no valid data"),
        (b"", "gzip", 400, "it ends too early"),
        (gzip.compress(BODY)[:-9], "gzip", 400, "it ends too early"),
        (zlib.compress(BODY) + b"abc", "deflate", 400, "3 bytes follow it"),
        (gzip.compress(BODY) + b"abc", "gzip", 400, "no valid data"),
        (gzip.compress(b"\0" * 10_000_000), "gzip", 413, "A decompressed body holds at most 2200 bytes"),
        (gzip.compress(b"a" * 1500) * 2, "gzip", 413, "Got: more than 2200 bytes"),
        (raw_deflate(b"\0" * 10_000_000), "deflate", 413, "at most 2200 bytes"),
    ],
)
def test_what_is_wrong_is_refused(body: bytes, encoding: str, status: int, expected: str) -> None:
    with pytest.raises(RequestError) as raised:
        decoded(body, encoding, 2200)
    assert raised.value.status == status and expected in str(raised.value)


def test_a_bomb_is_never_held() -> None:
    import tracemalloc

    bomb = gzip.compress(b"\0" * 50_000_000)
    tracemalloc.start()
    with pytest.raises(RequestError, match="at most 100000 bytes"):
        decoded(bomb, "gzip", 100_000)
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [
        ("", ""),
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("br, *", "gzip"),
        ("gzip;q=0", ""),
        ("gzip;q=0.1, deflate;q=0.5", "deflate"),
        ("GZIP ; q=1", "gzip"),
        ("gzip;q=x", ""),
        ("identity", ""),
    ],
)
def test_the_client_chooses(accept: str, encoding: str) -> None:
    assert chosen(accept) == encoding


def test_only_large_bodies_are_compressed() -> None:
    assert encoded(BODY[:1024], "gzip") == (BODY[:1024], "") and encoded(BODY, "") == (BODY, "")
    for name, undo in (("gzip", gzip.decompress), ("deflate", zlib.decompress)):
        body, encoding = encoded(BODY, name)
        assert encoding == name and len(body) < 200 and undo(body) == BODY
