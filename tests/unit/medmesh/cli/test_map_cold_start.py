"""`medmesh map FILE` needs the tables and the parser alone: no broker, no keys, no settings, no event loop."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

NEEDLESS = {
    "asyncio",
    "cryptography",
    "fhir",
    "google",
    "granian",
    "httpx",
    "nats",
    "pydantic",
    "rich",
    "ssl",
    "structlog",
    "uvicorn",
    "uvloop",
}
SERVERS = (
    "adapters.contract",
    "adapters.hl7v2.server",
    "adapters.hl7v2.client",
    "bus.",
    "medmesh.config",
)
MESSAGE = (
    "MSH|^~\\&|A|B|C|D|20260101120000+0100||ADT^A01^ADT_A01|1|P|2.5.1\rPID|1||P1^^^B^MR\rPV1|1|I\r"
)
PATIENT = '{"resourceType": "Patient", "identifier": [{"system": "urn:id:B", "value": "P1"}]}'
PROGRAM = (
    "import sys, json\n"
    "before = set(sys.modules)\n"
    "from medmesh.cli import cli\n"
    "try: cli(sys.argv[1:], prog_name='medmesh')\n"
    "except SystemExit as end: print(json.dumps([end.code, sorted(set(sys.modules) - before)]))\n"
)


@pytest.mark.parametrize(
    ("text", "arguments"),
    [(MESSAGE, []), (PATIENT, ["--to", "hl7v2", "--set", "adt_event=A08"])],
    ids=["to FHIR", "to HL7 v2"],
)
def test_mapping_a_file_imports_neither_broker_nor_keys_nor_servers(
    tmp_path: Path, text: str, arguments: list[str]
) -> None:
    file = tmp_path / "one"
    file.write_text(text, newline="")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "map", str(file), *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    code, loaded = json.loads(done.stdout.splitlines()[-1])
    assert code == 0, done.stderr
    assert sorted(NEEDLESS & {name.partition(".")[0] for name in loaded}) == []
    assert [name for name in loaded if name.startswith(SERVERS) and name != "bus.clock"] == []


def test_the_kinds_of_adapters_are_found_all_the_same() -> None:
    import adapters.hl7v2

    for name in adapters.hl7v2.__all__:
        assert getattr(adapters.hl7v2, name).kind.startswith("hl7v2.")
    with pytest.raises(AttributeError, match="MLLP_SEVER"):
        adapters.hl7v2.MLLP_SEVER  # noqa: B018 - misspelt on purpose
