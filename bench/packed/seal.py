"""A checksum of a whole Parquet file, in its own footer.

Parquet's checksums are of pages and leave out their headers and the footer: damage there may be read as other data.
So the footer holds SHA-256 of the file with 64 zeros in the checksum's place.
"""

import hashlib

from bench.packed.layout import CHECKSUM

BLANK = b"0" * 64
# Between a key and its value in the footer: the value's type and its length.
_BETWEEN = 2


def _place(data: bytes) -> int:
    key = data.rfind(CHECKSUM)
    return -1 if key < 0 else key + len(CHECKSUM) + _BETWEEN


def _digest(data: bytes, place: int) -> bytes:
    total = hashlib.sha256(memoryview(data)[:place])
    total.update(BLANK)
    total.update(memoryview(data)[place + len(BLANK) :])
    return total.hexdigest().encode()


def seal(data: bytes) -> bytes:
    """A file with its checksum; it was written with `BLANK` there."""
    place = _place(data)
    assert data[place : place + len(BLANK)] == BLANK
    return data[:place] + _digest(data, place) + data[place + len(BLANK) :]


def is_sealed(data: bytes) -> bool:
    """Whether a file has a checksum at all."""
    return _place(data) >= 0


def is_whole(data: bytes) -> bool:
    """Whether a file's checksum fits."""
    place = _place(data)
    return place >= 0 and data[place : place + len(BLANK)] == _digest(data, place)
