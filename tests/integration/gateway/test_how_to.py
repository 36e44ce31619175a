"""The examples of docs/how-to/gateway.md do what the page says."""

from __future__ import annotations

import asyncio
import re
import tomllib
from pathlib import Path

import pytest

from medmesh import CallContext, Mesh, endpoint, service
from schemas.gateway import GatewaySection
from tests.hospital import Site, archive, running
from tests.ports import free_port
from tests.shared_data import ROOT

PAGE = (ROOT / "docs/how-to/gateway.md").read_text("utf-8")
SHELL = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
TOML = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("text", TOML)
def test_each_configuration_of_the_page_is_one(text: str) -> None:
    GatewaySection.model_validate(tomllib.loads(text)["gateway"])


@service("beds", version="1.0.0")
class Beds:
    """Beds."""

    @endpoint
    async def free(self, request: bytes, call: CallContext) -> bytes:
        """Which are free."""
        return b'{"free": 3}'


async def shell(text: str, port: int) -> str:
    process = await asyncio.create_subprocess_exec(
        "bash", "-euo", "pipefail", "-c", text.replace("127.0.0.1:8080", f"127.0.0.1:{port}"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, out
    return out.decode()


@pytest.mark.server
@pytest.mark.timeout(120)
async def test_each_command_of_the_page_answers_as_it_says(tmp_path: Path) -> None:
    port = free_port()
    site = Site(
        tmp_path, f'[gateway]\nlisten = "127.0.0.1:{port}"\n{archive(tmp_path / "archive")}'
    )
    publish, call, hl7v2, look = SHELL
    async with running(site), Mesh.connect(site.config, service="beds") as mesh:
        await mesh.serve(Beds())
        first, again = await shell(publish, port), await shell(publish, port)
        assert '"duplicate":false' in first
        assert '"duplicate":true' in again
        call = call.replace("application/json", "application/octet-stream")  # what this one takes
        async with asyncio.timeout(20):
            while '{"free": 3}' not in await shell(call, port):
                pass
        assert "MSA|AA|42" in await shell(hl7v2, port)
        assert '{"status":"ok"}' in await shell(look, port)
