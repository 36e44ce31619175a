"""Independent judges of R4: fhir.resources (its R4B models), fhirkit-rs and npm `fhir`. None of them knows our tables.

Their known false alarms are filtered here, each by its name; nothing else is.
"""

from __future__ import annotations

import json
import os
import selectors
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

import fhirkit
import orjson
import pytest
from fhir.resources.R4B import get_fhir_model_class
from pydantic import ValidationError

from tests.shared_data import ROOT

JUDGES_FOLDER: Final = ROOT / "tests" / "judges"
ANSWER_TIMEOUT_S: Final = 60.0
_ABSENT: Final = "data-absent-reason"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a judge refuses."""

    judge: str
    where: str
    what: str


def by_fhir_resources(resource: Mapping[str, Any]) -> list[Finding]:
    """fhir.resources has no R4; for what hospitals send, its R4B models accept R4."""
    try:
        get_fhir_model_class(str(resource["resourceType"])).model_validate(resource)
    except ValidationError as refused:
        return [
            Finding("fhir.resources", ".".join(map(str, one["loc"])), one["msg"])
            for one in refused.errors()
        ]
    except (KeyError, ValueError) as unknown:
        return [Finding("fhir.resources", "resourceType", str(unknown))]
    return []


def by_fhirkit(resource: Mapping[str, Any]) -> list[Finding]:
    """Structure, choice types, formats, empty texts and empty arrays."""
    return [
        Finding("fhirkit", issue.path, issue.message)
        for issue in fhirkit.validate(orjson.dumps(resource))
        if issue.severity == "error"
    ]


class NpmJudge:
    """npm `fhir` in one long-lived process: required bindings, unexpected and missing properties.

    A context manager. Skips when node or its packages are missing, and fails then with CI=true.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""

    def __enter__(self) -> Self:
        node = shutil.which("node")
        if node is None or not (JUDGES_FOLDER / "node_modules" / "fhir").is_dir():
            reason = "node, or `npm ci` in tests/judges, is missing"
            if os.environ.get("CI") == "true":
                pytest.fail(reason)
            pytest.skip(reason)
        self._process = subprocess.Popen(
            [node, str(JUDGES_FOLDER / "judge.js")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=JUDGES_FOLDER,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        process = self._process
        if process is None or process.stdin is None or process.stdout is None:
            return
        process.stdin.close()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def findings(self, bundle: Mapping[str, Any]) -> list[Finding]:
        """Judge a bundle's frame and each of its resources."""
        return [
            Finding("npm fhir", where, what)
            for document in _documents(bundle)
            for where, what in self._ask(document)
            if not _is_false_alarm(document, where, what)
        ]

    def _ask(self, document: Mapping[str, Any]) -> list[tuple[str, str]]:
        process = self._process
        if process is None or process.stdin is None:
            raise RuntimeError("the judge is used outside of its `with`")
        process.stdin.write(orjson.dumps(document) + b"\n")
        process.stdin.flush()
        return [(where, what) for where, what in json.loads(self._line())]

    def _line(self) -> bytes:
        process = self._process
        if process is None or process.stdout is None:
            raise RuntimeError("the judge is used outside of its `with`")
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(ANSWER_TIMEOUT_S):
                    raise TimeoutError(f"the judge has not answered for {ANSWER_TIMEOUT_S} s")
                chunk = os.read(process.stdout.fileno(), 1 << 16)
                if not chunk:
                    raise EOFError("the judge's process has ended")
                self._unread += chunk
        line, _, self._unread = self._unread.partition(b"\n")
        return line


def _documents(bundle: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The resources one by one, so that an address is one within its resource, and the bundle without them."""
    entries = bundle.get("entry")
    if not isinstance(entries, list):
        yield bundle
        return
    yield {
        **bundle,
        "entry": [{k: v for k, v in one.items() if k != "resource"} for one in entries],
    }
    for entry in entries:
        if "resource" in entry:
            yield entry["resource"]


def _is_false_alarm(document: Mapping[str, Any], where: str, what: str) -> bool:
    parent, leaf = _at(document, where)
    return (
        _is_absent_with_reason(parent, leaf, what)
        or _is_false_taken_for_missing(parent, leaf, what)
        or _is_conditional_reference(parent, leaf, what)
    )


def _is_absent_with_reason(parent: Any, leaf: str, what: str) -> bool:
    """A required `endpoint` that only `_endpoint` holds, with a data-absent-reason: valid R4, called missing."""
    if what != "Missing property" or leaf != "endpoint" or not isinstance(parent, dict):
        return False
    return _ABSENT in json.dumps(parent.get("_endpoint", {}))


def _is_false_taken_for_missing(parent: Any, leaf: str, what: str) -> bool:
    """`allowedBoolean: false` fulfils `allowed[x]`; the judge looks for a truthy value."""
    if what != "Missing property" or not leaf.startswith("allowed"):
        return False
    return isinstance(parent, dict) and parent.get("allowedBoolean") is False


def _is_conditional_reference(parent: Any, leaf: str, what: str) -> bool:
    """`Patient?identifier=…` in a transaction: the judge looks for the type before the last slash."""
    if not what.startswith("Invalid type for reference ") or not isinstance(parent, dict):
        return False
    name, _, index = leaf.partition("[")
    value = parent.get(name)
    if index and isinstance(value, list):
        value = value[int(index.rstrip("]"))]
    return isinstance(value, dict) and "?" in str(value.get("reference", ""))


def _at(document: Mapping[str, Any], where: str) -> tuple[Any, str]:
    """The object that holds the last part of `MessageHeader.destination[0].endpoint`, and that part."""
    *above, leaf = where.split(".")
    value: Any = document
    for part in above[1:]:
        name, _, index = part.partition("[")
        value = value.get(name) if isinstance(value, dict) else None
        if index and isinstance(value, list):
            value = value[int(index.rstrip("]"))]
    return value, leaf


__all__ = ["Finding", "NpmJudge", "by_fhir_resources", "by_fhirkit"]
