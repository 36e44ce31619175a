"""Our AsyncAPI document, judged by the official JSON Schema of AsyncAPI 3.0."""

from __future__ import annotations

import copy
import json
import os
from typing import Any

import pytest
from jsonschema import Draft7Validator

from tests.shared_data import ROOT
from tests.unit.schemas.registry.test_asyncapi import built

SPECIFICATION = ROOT / "tests/judges/asyncapi/node_modules/@asyncapi/specs/schemas/3.0.0.json"


@pytest.fixture(scope="module")
def judge() -> Draft7Validator:
    if not SPECIFICATION.is_file():
        reason = "npm @asyncapi/specs is missing: run tests/judges/asyncapi/install.sh"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return Draft7Validator(json.loads(SPECIFICATION.read_text()))


def errors(judge: Draft7Validator, document: object) -> list[str]:
    return [f"{one.json_path}: {one.message[:200]}" for one in judge.iter_errors(document)]


def test_document_is_valid_asyncapi(judge: Draft7Validator) -> None:
    assert errors(judge, built()) == []


@pytest.mark.parametrize("what", ["action", "address", "info", "unknown"])
def test_judge_sees_what_is_wrong(judge: Draft7Validator, what: str) -> None:
    document: Any = copy.deepcopy(built())
    channel, operation = (next(iter(document[one].values())) for one in ("channels", "operations"))
    match what:
        case "action":
            operation["action"] = "shout"
        case "address":
            channel["address"] = 7
        case "info":
            del document["info"]["version"]
        case _:
            document["chanels"] = {}
    assert errors(judge, document)
