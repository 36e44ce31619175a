"""The owner of Subscription and SubscriptionTopic: answers interactions of the façade."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

import msgspec
import orjson
from google.protobuf.message import DecodeError

from adapters.fhir.codec.partial import is_id
from adapters.fhir.store.refusals import Refusal, not_found
from adapters.fhir.store.times import instant
from bus.services.protocol import CallContext, CallRefused, InvalidRequest
from gateway.access.rights import GATEWAY
from gateway.subscriptions.book import Changed
from gateway.subscriptions.delivering import Desk
from gateway.subscriptions.endpoints import EndpointRefused, Endpoints
from gateway.subscriptions.model import REST_HOOK, Record, Wish
from gateway.subscriptions.operations import Operations
from gateway.subscriptions.reading import BACKPORT, MASK, masked, read_wish
from gateway.subscriptions.topics import id_of
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb

SUBSCRIPTION: Final = "Subscription"
TOPIC: Final = "SubscriptionTopic"
_MOST_BODY: Final = 256 * 1024
_MOST_FOUND: Final = 1000
_INTERACTIONS: Final = ("read", "create", "update", "delete", "search-type")
_FHIR_VERSIONS: Final = {"R4": "4.0.1", "R4B": "4.3.0", "R5": "5.0.0"}
_OPERATION: Final = (
    "http://hl7.org/fhir/uv/subscriptions-backport/OperationDefinition/backport-subscription-"
)
_OPERATIONS: Final = {
    "status": f"{_OPERATION}status",
    "events": f"{_OPERATION}events",
    "get-ws-binding-token": f"{_OPERATION}get-ws-binding-token",
}
_R5_OPERATION: Final = "http://hl7.org/fhir/OperationDefinition/Subscription-"
Answer = Callable[[pb.Interaction], Awaitable[pb.Outcome]]


class Owner:
    """Answers interactions. Everything it knows lies in the mesh, so any gateway's owner answers alike."""

    def __init__(self, desk: Desk, endpoints: Endpoints, operations: Operations) -> None:
        self._desk = desk
        self._book = desk.book
        self._endpoints = endpoints
        self._operations = operations
        self._answers: Mapping[int, Answer] = {
            pb.KIND_READ: self._read,
            pb.KIND_CREATE: self._create,
            pb.KIND_UPDATE: self._update,
            pb.KIND_DELETE: self._delete,
            pb.KIND_SEARCH: self._search,
            pb.KIND_VALIDATE: self._validate,
            pb.KIND_OPERATION: self._operate,
            pb.KIND_CAPABILITIES: self._capabilities,
        }

    async def answer(self, body: bytes, context: CallContext) -> bytes:
        """One call. Raises `CallRefused` for whoever is no gateway: nobody else has verified who asks."""
        if context.caller != GATEWAY:
            raise CallRefused(
                "not_a_gateway", "subscriptions are the gateways' own matter: use /fhir"
            )
        try:
            asked = pb.Interaction.FromString(body)
        except DecodeError:
            raise InvalidRequest("fhir_interaction", "the request is no Interaction") from None
        return (await self.respond(asked)).SerializeToString()

    async def respond(self, asked: pb.Interaction) -> pb.Outcome:
        """The outcome; every refusal is one as well."""
        try:
            await self._book.catch_up()
            return await self._answer_of(asked)(asked)
        except Refusal as refusal:
            self._desk.count("subscription_refused", str(refusal.status))
            return pb.Outcome(status=refusal.status, body=refusal.body)
        except Changed:
            words = "somebody else has changed it meanwhile: read it again"
            return pb.Outcome(status=409, body=Refusal(409, "conflict", words).body)

    def _answer_of(self, asked: pb.Interaction) -> Answer:
        answer = self._answers.get(asked.kind)
        if answer is None or asked.is_conditional or asked.if_none_exist:
            words = "the interaction is not supported for this type"
            raise Refusal(501, "not-supported", words)
        return answer

    # subscriptions

    async def _read(self, asked: pb.Interaction) -> pb.Outcome:
        if asked.resource_type == TOPIC:
            return self._topic(asked)
        record = self._own(asked)
        return _about(200, record, shown(record))

    def _own(self, asked: pb.Interaction) -> Record:
        """The subscription, where the client may see it. Raises `Refusal` (404)."""
        _check_type(asked)
        record = self._book.record(asked.id)
        if record is None or record.release != asked.release or not self._is_seen(record, asked):
            raise not_found()
        return record

    def _is_seen(self, record: Record, asked: pb.Interaction) -> bool:
        client = asked.requester.client
        return record.client == client or self._desk.permits.sees_all(client)

    async def _create(self, asked: pb.Interaction) -> pb.Outcome:
        wish = self._judged(asked)
        if len(self._book.records()) >= self._desk.section.max_subscriptions:
            words = "there are as many subscriptions as may be (gateway.subscriptions.max_subscriptions)"
            raise Refusal(422, "too-costly", words)
        record = await self._write(asked, wish, secrets.token_hex(12), None)
        return _about(201, record, _preferred(asked, record), has_location=True)

    async def _update(self, asked: pb.Interaction) -> pb.Outcome:
        _check_type(asked)
        if not is_id(asked.id) or "." in asked.id:
            raise Refusal(400, "value", "the id of a subscription holds letters, digits and '-'")
        known = self._book.record(asked.id)
        if known is not None and (
            known.client != asked.requester.client or known.release != asked.release
        ):
            raise Refusal(403, "forbidden", "the subscription belongs to another client or release")
        _check_match(asked, known)
        wish = self._judged(asked, known)
        record = await self._write(asked, wish, asked.id, known)
        status = 200 if known is not None else 201
        return _about(status, record, _preferred(asked, record), has_location=known is None)

    async def _write(
        self, asked: pb.Interaction, wish: Wish, id_: str, known: Record | None
    ) -> Record:
        now_ms = self._desk.runtime.clock.now_ms()
        status = "off" if wish.is_off else "requested" if wish.channel == REST_HOOK else "active"
        record = Record(
            id=id_,
            release=asked.release,
            version=known.version + 1 if known is not None else 1,
            status=status,
            client=asked.requester.client,
            user=asked.requester.user,
            purpose=asked.requester.purpose,
            scopes=tuple(asked.requester.scopes),
            base=asked.base,
            created_ms=known.created_ms if known is not None else now_ms,
            updated_ms=now_ms,
            body=orjson.dumps(masked(asked.release, asked.body)),
            wish=wish,
        )
        await self._book.put(record, replaces=known.version if known is not None else 0)
        self._desk.count("subscription_status", status)
        return record

    def _judged(self, asked: pb.Interaction, known: Record | None = None) -> Wish:
        """What is asked for, where it may be. Raises `Refusal`."""
        _check_type(asked)
        if len(asked.body) > _MOST_BODY:
            raise Refusal(413, "too-long", f"a Subscription has at most {_MOST_BODY} bytes")
        if asked.requester.compartment:
            raise Refusal(
                403, "forbidden", "a client that is confined to a patient cannot subscribe"
            )
        wish = _with_known_secrets(read_wish(asked.release, asked.body), known)
        topic = self._desk.topics.check(wish, asked.release, asked.base)
        requester = asked.requester
        if not self._desk.permits.may(requester.client, requester.scopes, topic.types):
            words = "to be notified, the client needs to read and search the types of the topic (system/<Type>.rs)"
            raise Refusal(403, "forbidden", words)
        if wish.channel == REST_HOOK:
            try:
                self._endpoints.check(wish.endpoint)
            except EndpointRefused as error:
                raise Refusal(422, "forbidden", str(error), expression="Subscription") from error
        return wish

    async def _validate(self, asked: pb.Interaction) -> pb.Outcome:
        self._judged(asked, self._book.record(asked.id) if asked.id else None)
        body = {
            "resourceType": "OperationOutcome",
            "issue": [{"severity": "information", "code": "informational"}],
        }
        return pb.Outcome(status=200, body=orjson.dumps(body))

    async def _delete(self, asked: pb.Interaction) -> pb.Outcome:
        _check_type(asked)
        record = self._own(asked)
        if record.client != asked.requester.client:
            raise Refusal(403, "forbidden", "the subscription belongs to another client")
        _check_match(asked, record)
        await self._book.delete(record.id)
        return pb.Outcome(status=204, resource_type=SUBSCRIPTION, id=record.id)

    async def _search(self, asked: pb.Interaction) -> pb.Outcome:
        pairs = [(one.name, one.value) for one in asked.parameters]
        if asked.resource_type == TOPIC:
            found = self._topics_found(asked, pairs)
        else:
            seen = [
                one
                for one in self._book.records()
                if one.release == asked.release and self._is_seen(one, asked)
            ]
            _check_names(
                pairs, ("_id", "status", "_count", "_total", "_totalMethod", "_sort"), asked
            )
            for name, read in (("_id", _id_of), ("status", _status_of)):
                for value in (value for known, value in pairs if known == name):
                    seen = [one for one in seen if read(one) in value.split(",")]
            found = [{"id": one.id, "resource": orjson.Fragment(shown(one))} for one in seen]
        return pb.Outcome(status=200, body=_searchset(asked, found, pairs))

    async def _operate(self, asked: pb.Interaction) -> pb.Outcome:
        _check_type(asked)
        if asked.id:
            records = [self._own(asked)]
        else:
            records = [
                one
                for one in self._book.records()
                if one.release == asked.release and self._is_seen(one, asked)
            ]
        return await self._operations.answer(asked, records)

    # topics

    def _topic(self, asked: pb.Interaction) -> pb.Outcome:
        _check_release_of_topics(asked)
        for topic in self._desk.topics:
            if id_of(topic.url) == asked.id:
                return pb.Outcome(
                    status=200,
                    body=orjson.dumps(topic.resource()),
                    resource_type=TOPIC,
                    id=asked.id,
                )
        raise not_found()

    def _topics_found(
        self, asked: pb.Interaction, pairs: Sequence[tuple[str, str]]
    ) -> list[dict[str, Any]]:
        _check_release_of_topics(asked)
        _check_names(pairs, ("_id", "url", "_count", "_total", "_totalMethod"), asked)
        wanted = dict(pairs)
        found = [topic.resource() for topic in self._desk.topics]
        for name, key in (("_id", "id"), ("url", "url")):
            if name in wanted:
                found = [one for one in found if one[key] in wanted[name].split(",")]
        return [{"id": one["id"], "resource": one} for one in found]

    # capabilities

    async def _capabilities(self, asked: pb.Interaction) -> pb.Outcome:
        canonical = f"{BACKPORT}capabilitystatement-subscriptiontopic-canonical"
        is_r5 = asked.release == "R5"
        own: dict[str, Any] = {
            "type": SUBSCRIPTION,
            "interaction": [{"code": code} for code in _INTERACTIONS],
            "versioning": "versioned",
            "updateCreate": True,
            "searchParam": [{"name": "status", "type": "token"}, {"name": "_id", "type": "token"}],
            "operation": [
                {"name": name, "definition": f"{_R5_OPERATION}{name}" if is_r5 else definition}
                for name, definition in _OPERATIONS.items()
            ],
            "extension": [
                {"url": canonical, "valueCanonical": topic.url} for topic in self._desk.topics
            ],
        }
        resources = [own]
        if is_r5:
            codes = [{"code": "read"}, {"code": "search-type"}]
            search = [{"name": "url", "type": "uri"}]
            resources.append({"type": TOPIC, "interaction": codes, "searchParam": search})
        statement = {
            "resourceType": "CapabilityStatement",
            "status": "active",
            "date": instant(self._desk.runtime.clock.now_ms()),
            "kind": "instance",
            "fhirVersion": _FHIR_VERSIONS[asked.release],
            "format": ["application/fhir+json"],
            "rest": [{"mode": "server", "resource": resources}],
        }
        return pb.Outcome(status=200, body=orjson.dumps(statement))


def shown(record: Record) -> bytes:
    """The resource as it is answered: with its id, version and status, without secrets."""
    resource = orjson.loads(record.body)
    meta = {**resource.get("meta", {})}
    meta |= {"versionId": str(record.version), "lastUpdated": instant(record.updated_ms)}
    told = {**resource, "id": record.id, "meta": meta, "status": record.status}
    if record.release != "R5":
        told.pop("error", None)
        if record.trouble:
            told["error"] = record.trouble
    return orjson.dumps(told)


def _with_known_secrets(wish: Wish, known: Record | None) -> Wish:
    """A masked header keeps its value, as long as it goes to the same endpoint. Raises `Refusal`."""
    if all(value != MASK for _, value in wish.headers):
        return wish
    if known is None or known.wish.endpoint != wish.endpoint:
        words = f"a header says {MASK}: its value is asked for when the endpoint is new"
        raise Refusal(422, "value", words, expression="Subscription")
    old = {name.lower(): value for name, value in known.wish.headers}
    kept = tuple(
        (name, old.get(name.lower(), "") if value == MASK else value)
        for name, value in wish.headers
    )
    if any(not value for _, value in kept):
        raise Refusal(
            422, "value", "a masked header was not known before", expression="Subscription"
        )
    return msgspec.structs.replace(wish, headers=kept)


def _check_type(asked: pb.Interaction) -> None:
    if asked.resource_type != SUBSCRIPTION:
        raise Refusal(405, "not-supported", f"{asked.resource_type} is not written here")


def _check_release_of_topics(asked: pb.Interaction) -> None:
    if asked.release != "R5":
        words = f"FHIR {asked.release} shows topics in its CapabilityStatement; R5 has SubscriptionTopic"
        raise Refusal(404, "not-supported", words)


def _check_match(asked: pb.Interaction, known: Record | None) -> None:
    if asked.if_none_match == "*" and known is not None:
        raise Refusal(412, "conflict", "If-None-Match: there is such a resource")
    if asked.if_match and (known is None or asked.if_match not in ("*", str(known.version))):
        raise Refusal(412, "conflict", "If-Match: the newest version is another one")


def _check_names(
    pairs: Sequence[tuple[str, str]], known: Sequence[str], asked: pb.Interaction
) -> None:
    for name, _ in pairs:
        if name not in known and asked.is_strict:
            raise Refusal(400, "not-supported", "there is no such search parameter")


def _id_of(record: Record) -> str:
    return record.id


def _status_of(record: Record) -> str:
    return record.status


def _searchset(
    asked: pb.Interaction, found: list[dict[str, Any]], pairs: Sequence[tuple[str, str]]
) -> bytes:
    counts = [value for name, value in pairs if name == "_count"]
    most = int(counts[0]) if counts and counts[0].isdigit() else _MOST_FOUND
    listed = found[: min(most, _MOST_FOUND)]
    bundle: dict[str, Any] = {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(found),
        "link": [{"relation": "self", "url": f"{asked.base}/{asked.resource_type}"}],
    }
    if listed:
        bundle["entry"] = [
            {
                "fullUrl": f"{asked.base}/{asked.resource_type}/{one['id']}",
                "resource": one["resource"],
                "search": {"mode": "match"},
            }
            for one in listed
        ]
    return orjson.dumps(bundle)


def _preferred(asked: pb.Interaction, record: Record) -> bytes:
    return b"" if asked.prefer_return == pb.RETURN_MINIMAL else shown(record)


def _about(status: int, record: Record, body: bytes, *, has_location: bool = False) -> pb.Outcome:
    return pb.Outcome(
        status=status,
        body=body,
        resource_type=SUBSCRIPTION,
        id=record.id,
        version=str(record.version),
        last_modified_ms=record.updated_ms,
        has_location=has_location,
    )


__all__ = ["SUBSCRIPTION", "TOPIC", "Owner", "shown"]
