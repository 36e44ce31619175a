"""A prepared key gives the bytes that the standard library's HMAC gives."""

from __future__ import annotations

import hashlib
import hmac

from hypothesis import given
from hypothesis import strategies as st

from schemas.keyed import KeyedHash, keyed_hash


@given(key=st.binary(max_size=200), parts=st.lists(st.binary(max_size=300), max_size=4))
def test_a_prepared_key_gives_the_same_bytes_as_hmac(key: bytes, parts: list[bytes]) -> None:
    expected = hmac.digest(key, b"".join(parts), hashlib.sha256)
    prepared = KeyedHash(key)
    assert prepared.digest(*parts) == expected
    assert prepared.digest(*parts) == expected
    assert keyed_hash(key).digest(*parts) == expected
