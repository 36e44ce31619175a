"""Descriptor sets: what they say of methods, and which of them holds."""

from __future__ import annotations

import pytest
from google.protobuf import descriptor_pb2

from gateway.grpc.descriptors import MAX_SETS, DescriptorIndex, Shape, descriptor_set
from schemas.registry.errors import SchemaError
from tests.unit.gateway.grpc.world import RESULTS, lab_files


def test_the_kind_of_each_method_is_read() -> None:
    found = descriptor_set(lab_files().file)
    assert found.services == (RESULTS,)
    assert found.shapes == {
        f"/{RESULTS}/GetResult": Shape(is_idempotent=True),
        f"/{RESULTS}/Watch": Shape(is_server_streaming=True),
        f"/{RESULTS}/Upload": Shape(is_client_streaming=True),
        f"/{RESULTS}/Chat": Shape(is_client_streaming=True, is_server_streaming=True),
    }
    assert [one.is_unary for one in found.shapes.values()] == [True, False, False, False]


def test_files_may_come_in_any_order() -> None:
    files = list(lab_files().file)
    assert descriptor_set(reversed(files)).services == descriptor_set(files).services


def test_a_symbol_comes_with_all_that_its_file_imports() -> None:
    index = DescriptorIndex()
    index.put("lab", descriptor_set(lab_files().file), rank=1)
    for name in (RESULTS, f"{RESULTS}.Chat"):
        files = [descriptor_pb2.FileDescriptorProto.FromString(one) for one in index.symbol(name)]
        assert [one.name for one in files] == [
            "lab/v1/results.proto",
            "google/protobuf/wrappers.proto",
        ]
    assert index.symbol("google.protobuf.StringValue")
    assert index.file("google/protobuf/wrappers.proto")
    assert not index.symbol("lab.v1.Nothing")
    assert not index.file("nothing.proto")


@pytest.mark.parametrize("which", ["incomplete", "unknown type", "circle"])
def test_a_set_that_does_not_hold_together_is_refused(which: str) -> None:
    files = list(lab_files().file)
    if which == "incomplete":
        files = files[1:]
    elif which == "unknown type":
        files[1].service[0].method[0].input_type = ".no.Such"
    else:
        files[0].dependency.append(files[1].name)
    with pytest.raises(SchemaError):
        descriptor_set(files)


def test_the_set_of_lower_rank_holds_and_the_other_one_follows_it() -> None:
    other = lab_files()
    del other.file[1].service[0].method[1:]
    other.file[1].service[0].method[0].server_streaming = True
    index = DescriptorIndex()
    index.put("registry", descriptor_set(other.file), rank=2)
    assert index.shape(f"/{RESULTS}/GetResult") == Shape(
        is_server_streaming=True, is_idempotent=True
    )
    index.put("file", descriptor_set(lab_files().file), rank=1)
    assert index.shape(f"/{RESULTS}/GetResult") == Shape(is_idempotent=True)
    index.keep_only(1, ())
    assert index.shape(f"/{RESULTS}/Watch") is None
    assert index.is_described(RESULTS)
    assert index.services() == (RESULTS,)


def test_whoever_describes_the_service_of_another_is_not_asked() -> None:
    limited = descriptor_set(lab_files().file).limited(["lab.v1.Orders"])
    assert not limited.shapes
    assert not limited.services


def test_the_index_is_bounded() -> None:
    index = DescriptorIndex()
    found = descriptor_set(())
    for number in range(MAX_SETS):
        index.put(str(number), found, rank=3)
    index.put("0", found, rank=3)
    with pytest.raises(SchemaError):
        index.put("one more", found, rank=3)
