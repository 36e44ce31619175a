"""To which addresses notifications may go."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from gateway.subscriptions.endpoints import EndpointRefused, Endpoints
from schemas.errors import Unavailable

ALLOWED = (
    "https://ehr.example/fhir/",
    "http://lab.example:8080",
    "https://[fe80::1]/",
    "https://10.0.0.7/",
)


def endpoints(*addresses: str, allow_local: bool = False) -> Endpoints:
    async def resolve(host: str, port: int) -> Sequence[str]:
        if not addresses:
            raise OSError
        return addresses

    return Endpoints(ALLOWED, allow_local=allow_local, resolve=resolve)


@pytest.mark.parametrize(
    "url",
    ["https://ehr.example/fhir", "https://ehr.example/fhir/hook?a=b", "https://EHR.example:443/fhir/x",
     "http://lab.example:8080/anything", "https://10.0.0.7/x"],
)  # fmt: skip
def test_what_is_listed_is_allowed(url: str) -> None:
    endpoints().check(url)


@pytest.mark.parametrize(
    "url",
    ["https://ehr.example/fhirx", "https://ehr.example/other", "https://ehr.example:8443/fhir/", "http://ehr.example/fhir/",
     "https://ehr.example.evil.example/fhir/", "https://ehr.example@evil.example/fhir/", "https://user@ehr.example/fhir/",
     "https://ehr.example/fhir/../admin", "https://ehr.example/fhir/%2e%2e/admin", "https://ehr.example/fhir/%252e%252e/x",
     "https://ehr.example/fhir/\\..\\admin", "https://ehr.example/fhir/#x", "ftp://ehr.example/fhir/", "file:///etc/passwd",
     "https://ehr.example:99999/fhir/", "https://", "", "https://ehr.example/fhir/ x", "https://[fe80::1]/x"],
)  # fmt: skip
def test_what_is_not_listed_or_goes_elsewhere_is_refused(url: str) -> None:
    with pytest.raises(EndpointRefused):
        endpoints().check(url)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "::1", "169.254.169.254", "fe80::1", "0.0.0.0", "::ffff:127.0.0.1", "224.0.0.1"],
)  # fmt: skip
async def test_a_name_that_leads_to_this_machine_is_refused_when_it_is_used(address: str) -> None:
    with pytest.raises(EndpointRefused):
        await endpoints("192.0.2.7", address).address("https://ehr.example/fhir/hook")


async def test_what_was_judged_is_what_is_used() -> None:
    assert await endpoints("10.1.2.3").address("https://ehr.example/fhir/") == "10.1.2.3"
    local = endpoints("127.0.0.1", allow_local=True)
    assert await local.address("https://ehr.example/fhir/") == "127.0.0.1"


async def test_a_name_that_nobody_knows_is_tried_again() -> None:
    with pytest.raises(Unavailable):
        await endpoints().address("https://ehr.example/fhir/")
