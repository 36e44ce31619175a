"""`[gateway]` in mesh.toml: lists of tables, listeners that clash, and what others may reach."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from medmesh.config import Configuration, ConfigurationProblems, load, settings

TLS = '[gateway.tls]\ncertificate = "c.pem"\nkey = "k.pem"\n'
CLIENT = '[[gateway.client]]\nname = "lab"\n'
ADAPTER = '[[adapter]]\nname = "{name}"\nkind = "hl7v2.mllp-server"\nlisten = "{listen}"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def loaded(
    folder: Path,
    text: str,
    *flags: str,
    environment: Mapping[str, str] | None = None,
) -> Configuration:
    file = folder / "mesh.toml"
    file.write_text(text)
    return load(file, flags=flags, environment=environment or {})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (
            '[gateway]\nlisten = "0.0.0.0:8443"\n',
            ["gateway.listen", "without any [[gateway.client]]"],
        ),
        (
            '[gateway]\nlisten = "0.0.0.0:8443"\n' + CLIENT,
            ["gateway.listen", "needs TLS", "[gateway.tls]"],
        ),
        (
            f'[gateway]\nlisten = "127.0.0.1:1"\n{CLIENT}[gateway.grpc]\nlisten = "10.0.0.1:2"\n',
            ["gateway.grpc.listen", "needs TLS"],
        ),
        (
            '[gateway]\nlisten = "127.0.0.1:2575"\n'
            + ADAPTER.format(name="emr", listen="0.0.0.0:2575"),
            ['gateway.listen: 127.0.0.1:2575 is taken by adapter[0] "emr"'],
        ),
        (
            '[gateway]\nlisten = "127.0.0.1:8081"\n[gateway.grpc]\nlisten = "127.0.0.1:8081"\n',
            ["gateway.grpc.listen: 127.0.0.1:8081 is taken by gateway"],
        ),
        (
            "[gateway]\n" + ADAPTER.format(name="gateway", listen="127.0.0.1:2575"),
            ['"gateway" is a service that every mesh has'],
        ),
        (
            "[gateway]\n" + CLIENT + '[[gateway.client]]\nname = "His!"\ncolour = 3\n',
            ['gateway.client[1].name: "His!"', "gateway.client[1].colour: unknown key"],
        ),
        ("[gateway]\n" + CLIENT + CLIENT, ["two clients have the same name"]),
        ("[gateway]\nmax_body = 1\n", ["gateway.max_body", "1024"]),
        ("[gateway]\nlissen = 1\n", ["gateway.lissen", 'did you mean "listen"?']),
    ],
)
def test_a_wrong_gateway_says_what_to_change(folder: Path, text: str, wanted: list[str]) -> None:
    with pytest.raises(ConfigurationProblems) as caught:
        loaded(folder, text)
    for words in wanted:
        assert words in str(caught.value)


def test_a_gateway_alone_is_a_configuration(folder: Path) -> None:
    found = loaded(folder, "[gateway]\n").settings.gateway
    assert found is not None
    assert found.listen == "127.0.0.1:8080"


def test_paths_lie_beside_the_file_in_lists_of_tables_too(folder: Path) -> None:
    text = (
        f'[gateway]\nlisten = "0.0.0.0:8443"\n{TLS}'
        '[[gateway.access.issuer]]\nissuer = "https://idp"\naudience = ["mesh"]\n'
        f'jwks = "https://idp/keys"\nauthority = "ca.pem"\n{CLIENT}'
        '[gateway.grpc]\nlisten = "0.0.0.0:8444"\ndescriptors = ["a.binpb", "/abs/b.binpb"]\n'
    )
    gateway = loaded(folder, text).settings.gateway
    assert gateway is not None
    assert gateway.tls is not None
    assert gateway.grpc is not None
    assert gateway.tls.certificate == folder / "c.pem"
    assert gateway.access.issuer[0].authority == folder / "ca.pem"
    assert gateway.grpc.descriptors == (folder / "a.binpb", Path("/abs/b.binpb"))


def test_lists_of_tables_are_shown_with_their_origins(folder: Path) -> None:
    shown = {one.key: one for one in settings(loaded(folder, "[gateway]\n" + CLIENT + TLS))}
    name = shown["gateway.client[0].name"]
    assert (name.value, name.origin) == ("lab", str(folder / "mesh.toml"))
    assert shown["gateway.client[0].rate"].origin == "default"


def test_flags_and_variables_set_keys_but_not_within_lists_of_tables(folder: Path) -> None:
    found = loaded(
        folder, "[gateway]\n", "gateway.max_requests=7",
        environment={"MEDMESH_GATEWAY__CORS_ORIGINS": "https://a,https://b"},
    ).settings.gateway  # fmt: skip
    assert found is not None
    assert (found.max_requests, found.cors_origins) == (7, ("https://a", "https://b"))
    with pytest.raises(ConfigurationProblems, match=r"write each as \[\[gateway\.client\]\]"):
        loaded(folder, "[gateway]\n" + CLIENT, "gateway.client.0.name=x")
