"""Run every benchmark in turn: `make bench`. Each one also runs alone: `python -m benchmarks.mllp --json`."""

from __future__ import annotations

import subprocess
import sys

BENCHMARKS = (
    "envelope",
    "bodies",
    "hl7v2_parse",
    "fhirpath",
    "fhir_codec",
    "mapping",
    "mapping_to_v2",
    "transport",
    "subjects",
    "group_commit",
    "partitions",
    "stages",
    "mllp",
    "balancing",
    "gateway",
    "sse",
    "grpc_bridge",
    "fhir_store",
    "fhir_gateway",
    "index",
    "congestion",
)


def main() -> None:
    """Run the benchmarks named on the command line, or all."""
    wanted = [name for name in sys.argv[1:] if not name.startswith("-")] or list(BENCHMARKS)
    options = [option for option in sys.argv[1:] if option.startswith("-")]
    failed = []
    for name in wanted:
        print(f"\n=== {name} ===", flush=True)
        if subprocess.run(
            [sys.executable, "-m", f"benchmarks.{name}", *options], check=False
        ).returncode:
            failed.append(name)
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
