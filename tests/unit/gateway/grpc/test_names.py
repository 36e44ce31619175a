"""Names of methods, in gRPC and in the mesh."""

from __future__ import annotations

import pytest

from gateway.grpc.names import mesh_method, snake, split_path


@pytest.mark.parametrize(
    ("name", "token"),
    [
        ("GetResult", "get_result"),
        ("getResult", "get_result"),
        ("get_result", "get_result"),
        ("HTTPGet", "http_get"),
        ("GetV2Result", "get_v2_result"),
        ("List", "list"),
        ("A" * 100, "a" * 64),
    ],
)
def test_a_method_has_the_name_that_python_would_give_it(name: str, token: str) -> None:
    assert snake(name) == token


def test_a_method_is_found_by_its_letters_where_it_is_spelt_otherwise() -> None:
    assert mesh_method("GetResult", ["getresult", "other"]) == "getresult"
    assert mesh_method("GetResult", ["get-result"]) == "get-result"
    assert mesh_method("GetResult", ["get-result", "get_result"]) == "get_result"
    assert mesh_method("GetResult", ["list"]) == ""
    assert mesh_method("GetResult", []) == "get_result"


@pytest.mark.parametrize(
    "path", ["", "/", "/a", "a/b", "/a/b/c", "/a//", "/a.b/c d", "/ä/b", "/../x"]
)
def test_what_is_no_path_has_no_parts(path: str) -> None:
    assert split_path(path) is None


def test_a_path_is_service_and_method() -> None:
    assert split_path("/lab.v1.Results/GetResult") == ("lab.v1.Results", "GetResult")
