"""Every message of the shared data maps; what comes out satisfies the judges, resolves, and loses nothing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC

import pytest

from adapters.hl7v2.codec import Hl7Error, Message
from adapters.hl7v2.mapping.protocol import MapContext, Output
from tests.mapping.bindings import by_bindings
from tests.mapping.checks import leaves, lost_leaves
from tests.mapping.corpus import Sample, samples, some
from tests.mapping.floors import MAX_DEAD_LETTERS, MAX_LOST_LEAVES
from tests.mapping.judges import NpmJudge
from tests.mapping.kit import CONTEXT, faults, mapped, refusals
from tests.mapping.mapper import default_mapper, written

EXPLAINED = MapContext(tenant="north", zone=UTC, explain=True)


@pytest.fixture(scope="module")
def npm() -> Iterator[NpmJudge]:
    with NpmJudge() as judge:
        yield judge


def test_the_corpus_is_complete() -> None:
    assert len(samples()) >= 455


def test_every_message_maps_to_a_bundle_that_resolves_and_has_nothing_empty() -> None:
    wrong: dict[str, list[str]] = {}
    for sample in samples():
        found = mapped(sample.raw)
        if isinstance(found, Hl7Error):
            wrong[sample.name] = [found.code]
        elif problems := faults(found):
            wrong[sample.name] = problems[:5]
    assert not wrong


def test_messages_about_a_patient_are_not_among_the_dead_letters() -> None:
    failed = [
        one.name
        for one in samples()
        if b"\rPID|" in one.raw and getattr(mapped(one.raw), "failed", True)
    ]
    assert len(failed) <= MAX_DEAD_LETTERS, failed


def test_no_bundle_of_ours_fails_a_judge(npm: NpmJudge) -> None:
    wrong = {
        sample.name: found
        for sample in some(110, seed=4)
        if (found := _refused(sample, CONTEXT, npm))
    }
    assert not wrong


def test_transactions_pass_the_judges_too(npm: NpmJudge) -> None:
    context = MapContext(tenant="north", zone=UTC, output=Output.TRANSACTION)
    wrong = {
        sample.name: found
        for sample in some(40, seed=5)
        if (found := _refused(sample, context, npm))
    }
    assert not wrong


def test_bare_output_holds_the_same_resources_as_the_message_without_its_header() -> None:
    context = MapContext(tenant="north", zone=UTC, output=Output.BARE)
    for sample in some(60, seed=6):
        bare, whole = mapped(sample.raw, context), mapped(sample.raw)
        if isinstance(bare, Hl7Error) or isinstance(whole, Hl7Error):
            continue
        assert bare.bundle is None
        assert {str(one["id"]) for one in bare.resources} <= {
            str(one["id"]) for one in whole.resources
        }


def test_required_codes_are_of_their_value_sets() -> None:
    wrong = {}
    for sample in some(200, seed=7):
        found = mapped(sample.raw)
        bundle = None if isinstance(found, Hl7Error) else found.bundle
        if bundle and (findings := by_bindings(written(bundle))):
            wrong[sample.name] = findings[:5]
    assert not wrong


def test_leaves_are_in_the_bundle_or_told() -> None:
    places: Counter[str] = Counter()
    count = 0
    for sample in some(100, seed=8):
        message = Message.parse(sample.raw)
        found = default_mapper().map(message, EXPLAINED)
        if found.bundle:
            places.update(_field(one) for one in lost_leaves(message, found, written(found.bundle)))
            count += sum(1 for _ in leaves(message))
    assert places.total() <= MAX_LOST_LEAVES * count, (
        places.total(),
        count,
        places.most_common(40),
    )


def _field(address: str) -> str:
    return re.sub(r"\[\d+\]", "", address)


def _refused(sample: Sample, context: MapContext, npm: NpmJudge) -> list[str]:
    found = mapped(sample.raw, context)
    return (
        [found.code]
        if isinstance(found, Hl7Error)
        else [str(one) for one in refusals(found, npm)[:5]]
    )
