"""The shipped dictionaries are what their index says, and every one that was ever shipped is there."""

from __future__ import annotations

import hashlib
import json
from importlib import resources

import zstandard

from schemas.dictionaries import INDEX, shipped

KINDS = {"hl7v2", "fhir-json"}


def test_each_dictionary_has_the_hash_that_names_it() -> None:
    for one in shipped():
        assert hashlib.sha256(one.raw).digest() == one.id
        assert len(one.raw) <= 32 * 1024
        assert zstandard.ZstdCompressionDict(one.raw).dict_id() != 0


def test_one_dictionary_of_each_kind_is_current() -> None:
    assert sorted(one.kind for one in shipped() if one.is_current) == sorted(KINDS)


def test_the_index_and_the_folder_agree() -> None:
    folder = resources.files("schemas.dictionaries")
    listed = json.loads(folder.joinpath(INDEX).read_text("utf-8"))
    files = {path.name for path in folder.iterdir() if path.name.endswith(".zdict")}
    assert {one["file"] for one in listed} == files
    assert all(one["file"] == f"{one['kind']}-{one['id'][:8]}.zdict" for one in listed)


def test_a_dictionary_does_not_show_its_bytes() -> None:
    assert len(repr(shipped()[0])) < 100
