"""What the OpenAPI document says is what the gateway does: schemathesis finds no 500 and no undeclared answer."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path

import httpx
import pytest

from tests.hospital import Site, archive, running
from tests.integration.gateway.http_site import Wards, serving, ward_service
from tests.ports import free_port

pytestmark = [
    pytest.mark.server,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        shutil.which("schemathesis") is None
        and not (Path(sys.executable).parent / "schemathesis").exists(),
        reason="schemathesis is not installed",
    ),
]
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


async def test_no_answer_is_undeclared_and_none_is_a_fault(tmp_path: Path) -> None:
    port = free_port()
    site = Site(
        tmp_path, f'[gateway]\nlisten = "127.0.0.1:{port}"\n{archive(tmp_path / "archive")}'
    )
    base = f"http://127.0.0.1:{port}"
    async with running(site), serving(site.config) as mesh:
        wards = Wards()
        wards.hold.set()
        await mesh.serve(ward_service(wards))
        async with httpx.AsyncClient(base_url=base, timeout=20) as client, asyncio.timeout(30):
            while (
                "/v1/request/wards/echo" not in (await client.get("/openapi.json")).json()["paths"]
            ):
                pass  # the document is made anew every few seconds
            document = (await client.get("/openapi.json")).json()
        (tmp_path / "openapi.json").write_text(json.dumps(document))
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.executable).parent / "schemathesis"), "run", str(tmp_path / "openapi.json"),
            "--url", base, "--checks", CHECKS, "--max-examples", "25", "--phases", "examples,coverage,fuzzing",
            "--workers", "1", "--no-color", "--seed", "7",
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path,
        )  # fmt: skip
        out, _ = await process.communicate()
    assert process.returncode == 0, out.decode()[-6000:]
