"""FHIR clients of others, unchanged, against a running site: `fhirpy` and SMART's `fhirclient`."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fhirpy import AsyncFHIRClient
from fhirpy.base.exceptions import ResourceNotFound

from tests.hospital import Site, running
from tests.ports import free_port

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(180)]

SITE = """
[[adapter]]
name = "fhir-store"
kind = "fhir.store"

[gateway]
listen = "127.0.0.1:{port}"

[gateway.fhir]
"""


@pytest.fixture
async def base(tmp_path: Path) -> AsyncIterator[str]:
    """The address of FHIR R4 at a running gateway."""
    port = free_port()
    async with running(Site(tmp_path, SITE.format(port=port))):
        yield f"http://127.0.0.1:{port}/fhir/R4"


async def test_fhirpy_does_all_that_it_can(base: str) -> None:
    client = AsyncFHIRClient(base)
    patient = client.resource(
        "Patient",
        name=[{"family": "Synthetic", "given": ["Vera"]}],
        identifier=[{"system": "urn:example:mrn", "value": "1"}],
    )
    await patient.save()
    assert patient["meta"]["versionId"] == "1"
    patient["birthDate"] = "1980-01-01"
    await patient.save()
    assert patient["meta"]["versionId"] == "2"
    await patient.patch(gender="female")
    assert patient["gender"] == "female"
    for number in range(5):
        await client.resource(
            "Patient",
            name=[{"family": "Paged"}],
            identifier=[{"system": "urn:example:mrn", "value": f"p{number}"}],
        ).save()
    paged = client.resources("Patient").search(name="Paged")
    assert len(await paged.limit(2).fetch()) == 2
    assert len(await paged.limit(2).fetch_all()) == 5
    assert await client.resources("Patient").count() == 6
    wanted = client.resources("Patient").search(identifier="urn:example:mrn|1")
    body: dict[str, Any] = {"identifier": [{"system": "urn:example:mrn", "value": "1"}]}
    found, created = await wanted.get_or_create(client.resource("Patient", **body))
    assert (created, found["id"]) == (False, patient["id"])
    assert await client.resources("Patient").count() == 6
    with pytest.raises(ResourceNotFound):
        await client.reference("Patient", "nope").to_resource()


def smart_client(base: str) -> list[str]:
    """What SMART's own client does, one step after the other."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own models and of requests
        from fhirclient import client
        from fhirclient.models.humanname import HumanName
        from fhirclient.models.patient import Patient
        from fhirclient.server import FHIRNotFoundException

        smart = client.FHIRClient(settings={"app_id": "test", "api_base": f"{base}/"})
        assert smart.prepare()
        assert smart.ready
        made: dict[str, Any] = {}
        for family in ("Synthetic", "Paged", "Paged", "Paged"):
            patient = Patient()
            patient.name = [HumanName({"family": family})]
            made = patient.create(smart.server)
        read = Patient.read(made["id"], smart.server)
        read.gender = "male"
        read.update(smart.server)
        again = Patient.read(made["id"], smart.server)
        asked = Patient.where({"name": "Paged", "_count": "2"})
        found = list(asked.perform_resources_iter(smart.server))
        with pytest.raises(FHIRNotFoundException):
            Patient.read("nope", smart.server)
        return [again.gender, str(len(found))]


async def test_fhirclient_does_all_that_it_can(base: str) -> None:
    told = await asyncio.to_thread(smart_client, base)
    assert told == ["male", "3"]


CLIENTS = Path(__file__).parents[1] / "judges" / "fhir_clients"


async def by_node(script: str, address: str) -> Any:
    """What a client of npm's tells."""
    node = shutil.which("node")
    if node is None or not (CLIENTS / "node_modules").is_dir():
        assert os.environ.get("CI") != "true", "`make judges` was not run"
        pytest.skip("needs node and `make judges`")
    process = await asyncio.create_subprocess_exec(
        node, "--experimental-websocket", script, address, cwd=CLIENTS,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    async with asyncio.timeout(90):
        told, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()[-600:]
    return json.loads(told)


async def test_fhir_kit_client_does_all_that_it_can(base: str) -> None:
    assert await by_node("kit.cjs", base) == {
        "version": "4.0.1",
        "sameByCondition": True,
        "stale": [412, "OperationOutcome"],
        "paged": 5,
        "posted": 5,
        "transaction": ["200", "201"],
        "patched": True,
        "history": 2,
    }


async def test_medplum_does_all_that_it_can(base: str) -> None:
    assert await by_node("medplum.mjs", base.removesuffix("fhir/R4")) == {
        "sameByCondition": True,
        "updated": "2",
        "patched": True,
        "searched": 2,
        "paged": 5,
        "batch": "200",
        "missing": "not-found",
        "history": 3,
    }
