"""`python -m adapters.fhir.judging R4`: validates what standard input gives, until it ends."""

from __future__ import annotations

import sys

from adapters.fhir.judge import serve

if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer, sys.argv[1])
