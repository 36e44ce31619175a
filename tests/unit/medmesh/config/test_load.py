"""A configuration is checked as a whole; each finding names the key, what was seen and what is allowed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import pytest
from pydantic import Field

from adapters.contract import AdapterConfig, AdapterKind, Rights
from medmesh.config import Configuration, ConfigurationMissing, ConfigurationProblems, kinds, load
from medmesh.config.show import settings
from schemas.errors import ConfigurationError


class ListenerConfig(AdapterConfig):
    listen: str
    ack: Literal["stored", "delivered"] = "stored"
    receipts_from: tuple[str, ...] = ()
    limit: int = Field(default=10, ge=1, le=100, description="A limit.")


class ReaderConfig(AdapterConfig):
    subscribe: tuple[str, ...] | str
    folder: Path | None = None
    password: str = ""


def _never(*_: object) -> Any:
    raise AssertionError("configuration checks build nothing")


LISTENER = AdapterKind(
    kind="test.listener",
    summary="listens",
    config=ListenerConfig,
    rights=lambda c, site: Rights(publish=(f"evt.{site}.raw.>",)),
    build=_never,
    addresses=lambda c: (c.listen,),
)
READER = AdapterKind(
    kind="test.reader",
    summary="reads",
    config=ReaderConfig,
    rights=lambda c, site: Rights(subscribe=("evt.north.raw.>",)),
    build=_never,
    addresses=lambda c: (),
)
KINDS = {"test.listener": LISTENER, "test.reader": READER}

Load = Callable[..., Configuration]


@pytest.fixture
def load_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.setattr(kinds, "known_kinds", lambda: sorted(KINDS))
    monkeypatch.setattr(kinds, "load_kind", lambda name: cast("Any", KINDS[name]))

    def loaded(
        text: str, *, flags: tuple[str, ...] = (), environment: Mapping[str, str] | None = None
    ) -> Configuration:
        path = tmp_path / "mesh.toml"
        path.write_text(text)
        return load(path, flags=flags, environment=environment or {})

    return loaded


LISTEN = '[[adapter]]\nname = "emr-in"\nkind = "test.listener"\nlisten = "127.0.0.1:2575"\n'
READ = '[[adapter]]\nname = "his-out"\nkind = "test.reader"\nsubscribe = "evt.north.raw.>"\n'
NORTH = '[mesh]\nsite = "north"\n'


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ('[mesh]\nsit = "north"', ["mesh.sit: unknown key", 'did you mean "site"?']),
        ('[mesch]\nsite = "north"', ["mesch: unknown section", 'did you mean "mesh"?']),
        ('site = "north"', ["site: unknown section"]),
        ('[gateway]\nlisten = "x"', ["gateway.listen:"]),
        ("[nats]\nreplicas = 9", ["nats.replicas: 9 is not allowed; allowed: 1 to 5"]),
        ("[limits]\ndrain_s = -1", ["limits.drain_s: -1 is not allowed; allowed: 0.1 to 3600.0"]),
        ('[nats]\nservers = ["n1:4222"]', ['nats.servers[0]: "n1:4222" is not allowed']),
        ('[log]\nlevel = "warn"', ["log.level:", 'did you mean "warning"?', '"debug", "info"']),
        ('[mesh]\nsite = "No rth"', ['mesh.site: "No rth" is not allowed; allowed: text that']),
        ("mesh = 3", ["mesh: 3"]),
        ("[adapter]\nname = 'x'", ["write each adapter as a section of its own: [[adapter]]"]),
        (
            '[[adapter]]\nname = "x"\nkind = "test.lissener"',
            ['adapter[0] "x".kind: "test.lissener"', 'did you mean "test.listener"?'],
        ),
        ('[[adapter]]\nname = "x"', ['adapter[0] "x".kind: is missing; kinds: test.listener']),
        ('[[adapter]]\nkind = "test.reader"', ["adapter[0].name: is missing"]),
        (
            LISTEN + READ.replace("subscribe", "subscibe"),
            [
                'adapter[1] "his-out".subscibe: unknown key; did you mean "subscribe"?',
                'adapter[1] "his-out".subscribe: is missing',
            ],
        ),
        (LISTEN + "limit = 101", ['adapter[0] "emr-in".limit: 101 is not allowed', "1 to 100"]),
        (LISTEN + 'limit = "many"', ['adapter[0] "emr-in".limit: "many"']),
        (LISTEN.replace("emr-in", "operator"), ['"operator" is a service that every mesh has']),
        (LISTEN + LISTEN, ['adapter[1] "emr-in".name: "emr-in" is the name of adapter[0] already']),
        (
            LISTEN + LISTEN.replace("emr-in", "b").replace("127.0.0.1", "0.0.0.0"),
            ['adapter[1] "b".listen: 0.0.0.0:2575 is taken by adapter[0] "emr-in"'],
        ),
        (
            NORTH + READ.replace("evt.north.raw.>", "evt.south.raw.>"),
            [
                'adapter[0] "his-out".subscribe: "evt.south.raw.>": no event',
                'begin with "evt.north."',
            ],
        ),
        (NORTH + READ.replace("evt.north.raw.>", "evt.>"), ["reaches beyond this site"]),
        (
            NORTH + LISTEN + 'ack = "delivered"\nreceipts_from = ["his-oud"]\n' + READ,
            ['"his-oud" is no adapter of this file; did you mean "his-out"?'],
        ),
        (
            NORTH + LISTEN + 'ack = "delivered"\nreceipts_from = ["emr-in"]\n' + READ,
            ['"emr-in" consumes no events'],
        ),
        ("[mesh\n", ["is not TOML", "line 1"]),
    ],
)
def test_a_wrong_configuration_says_what_to_change(
    load_text: Load, text: str, wanted: list[str]
) -> None:
    with pytest.raises(ConfigurationProblems) as caught:
        load_text(text)
    for words in wanted:
        assert words in str(caught.value)


def test_all_problems_come_together(load_text: Load) -> None:
    with pytest.raises(ConfigurationProblems) as caught:
        load_text("[nats]\nreplicas = 9\n[log]\nlevl = 'info'\n" + LISTEN + "limit = 0\n")
    keys = [problem.key for problem in caught.value.problems]
    assert keys == ["nats.replicas", "log.levl", 'adapter[0] "emr-in".limit']


def test_two_listeners_may_share_a_port_on_different_addresses_or_take_any(load_text: Load) -> None:
    other = LISTEN.replace("emr-in", "b").replace("127.0.0.1", "127.0.0.2")
    free = LISTEN.replace("emr-in", "c").replace("2575", "0")
    assert len(load_text(LISTEN + other + free + free.replace('"c"', '"d"')).adapters) == 4


def test_flags_win_over_variables_over_the_file_over_defaults(load_text: Load) -> None:
    variables = {
        "MEDMESH_MESH__NAME": "from-variable",
        "MEDMESH_NATS__REPLICAS": "3",
        "MEDMESH_NATS__SERVERS": "nats://a:1, nats://b:2",
        "MEDMESH_ADAPTER__EMR_IN__LIMIT": "7",
        "MEDMESH_NATS_SERVER": "/usr/bin/nats-server",
        "PATH": "/bin",
    }
    loaded = load_text(
        '[mesh]\nname = "from-file"\nsite = "north"\n[nats]\nreplicas = 1\n' + LISTEN,
        environment=variables,
        flags=("nats.replicas=5", "adapter.emr-in.listen=127.0.0.1:99"),
    )
    assert loaded.settings.mesh.name == "from-variable"
    assert loaded.settings.nats.replicas == 5
    assert loaded.settings.nats.servers == ("nats://a:1", "nats://b:2")
    adapter = loaded.adapters[0].config
    assert isinstance(adapter, ListenerConfig)
    assert (adapter.limit, adapter.listen) == (7, "127.0.0.1:99")
    origins = {setting.key: setting.origin for setting in settings(loaded)}
    assert origins["mesh.name"] == "MEDMESH_MESH__NAME"
    assert origins["mesh.site"].endswith("mesh.toml")
    assert origins["nats.replicas"] == "--set"
    assert origins["limits.drain_s"] == "default"
    assert origins['adapter[0] "emr-in".limit'] == "MEDMESH_ADAPTER__EMR_IN__LIMIT"


@pytest.mark.parametrize(
    ("variable", "words"),
    [
        ("MEDMESH_MESH__SIDE", 'mesh.side: unknown key; did you mean "site"?'),
        ("MEDMESH_MESCH__SITE", "MEDMESH_MESCH__SITE: unknown key"),
        ("MEDMESH_SITE", "MEDMESH_SITE: unknown key"),
        ("MEDMESH_ADAPTER__NOBODY__LISTEN", 'no adapter is called "nobody"; there are: "emr-in"'),
        ("MEDMESH_ADAPTER__EMR_IN", "names no key"),
    ],
)
def test_an_unknown_variable_is_an_error(load_text: Load, variable: str, words: str) -> None:
    with pytest.raises(ConfigurationProblems) as caught:
        load_text(LISTEN, environment={variable: "x"})
    assert words in str(caught.value)


def test_a_flag_without_a_value_is_an_error(load_text: Load) -> None:
    with pytest.raises(ConfigurationProblems, match="is not KEY=VALUE"):
        load_text(LISTEN, flags=("mesh.site",))


def test_a_setting_that_fits_two_adapters_is_refused(load_text: Load) -> None:
    twins = LISTEN + LISTEN.replace("emr-in", "emr_in").replace("2575", "2576")
    with pytest.raises(ConfigurationProblems, match="fits more than one adapter"):
        load_text(twins, environment={"MEDMESH_ADAPTER__EMR_IN__LIMIT": "1"})


def test_paths_of_the_file_start_from_its_folder(load_text: Load, tmp_path: Path) -> None:
    loaded = load_text('[mesh]\nsite = "north"\ndata = "state"\n' + READ + 'folder = "archive"')
    assert loaded.settings.mesh.data == tmp_path / "state"
    reader = loaded.adapters[0].config
    assert isinstance(reader, ReaderConfig)
    assert reader.folder == tmp_path / "archive"


def test_paths_of_variables_start_from_the_current_folder(
    load_text: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    loaded = load_text("", environment={"MEDMESH_MESH__DATA": "state"})
    assert loaded.settings.mesh.data == tmp_path / "elsewhere" / "state"


def test_a_missing_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationMissing, match="medmesh demo --print-config"):
        load(tmp_path / "mesh.toml", environment={})


def test_secrets_are_hidden_from_listings_and_messages(load_text: Load) -> None:
    text = '[mesh]\nsite = "north"\n[nats]\nuser = "u"\npassword = "hunter2"\n' + READ
    shown = settings(load_text(text + 'password = "hunter2"'))
    assert "hunter2" not in repr(shown)
    with pytest.raises(ConfigurationProblems) as caught:
        load_text("[nats]\npassword = [1234567]")
    assert "1234567" not in str(caught.value)


def test_a_kind_that_cannot_be_imported_is_named(
    load_text: Load, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> None:
        raise ConfigurationError(f'the kind "{name}" cannot be imported: no module named x')

    monkeypatch.setattr(kinds, "load_kind", broken)
    with pytest.raises(ConfigurationProblems, match='adapter\\[0\\] "emr-in": the kind'):
        load_text(LISTEN)
