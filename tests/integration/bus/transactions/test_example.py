"""The example of a saga runs as it stands."""

from __future__ import annotations

from tests.hospital import start
from tests.shared_data import ROOT


async def test_the_example_admits_one_patient_and_undoes_two() -> None:
    child = await start([str(ROOT / "examples/admission/admission.py")])
    await child.ended()
    assert child.process.returncode == 0, "".join(child.errors)
    assert "".join(child.lines).splitlines() == [
        "v1 completed ",
        "v2 compensated orders:no_order_set",
        "v3 compensated bed:no_free_bed",
        *sorted(line.rstrip() for line in child.lines[3:6]),
        "[('4W', 1, 'v1'), ('4W', 2, None), ('5A', 1, None)]",
    ]
    said = {line.split(" bed")[0] for line in child.lines[3:6]}
    assert said == {"v1 admitted", "v2 admitted", "v2 discharged"}
