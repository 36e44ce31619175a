"""Whatever stands in a header, its block has one line for each and is read back."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bus.transport.nats.headers import decode, encode


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(
        st.text("ABCxyz019-", min_size=1, max_size=10),
        st.text(max_size=20).map(str.strip),
        max_size=5,
    )
)
def test_what_is_encoded_is_found_again_on_lines_of_its_own(fields: dict[str, str]) -> None:
    raw = encode(fields)
    assert raw.count(b"\r\n") == len(fields) + 2
    expected = {
        k: v.translate({10: 32, 13: 32}).encode().strip().decode() for k, v in fields.items()
    }
    assert decode(raw) == expected
