"""The FHIR façade: reads a request, asks who may, calls the owner, keeps the record, answers. Knows no HTTP server."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

import orjson

from gateway.access.protocol import Access, AccessRecord, Deed, Forbidden
from gateway.contract import GatewayRuntime
from gateway.fhir import capability, permits
from gateway.fhir.answering import response_of
from gateway.fhir.asking import ask
from gateway.fhir.batches import PostedBundle, entry_requests, posted_bundle, relative, run_batch
from gateway.fhir.exchange import FHIR_JSON, FhirRequest, FhirResponse, Refusal
from gateway.fhir.negotiation import body_type, check_accept, is_strict, preferred_return
from gateway.fhir.owners import Owner, owner_of, owners
from gateway.fhir.reading import as_get, interaction_of, place_of
from schemas.errors import MeshError
from schemas.generated.medmesh.fhir.v1 import interaction_pb2 as pb

_LISTS: Final = frozenset({pb.KIND_SEARCH, pb.KIND_HISTORY})
_CAPABILITIES_S: Final = 5.0


class Facade:
    """Answers FHIR requests by calling the owners of their types."""

    def __init__(
        self, runtime: GatewayRuntime, access: Access, *, trusted: frozenset[str], smart: bool
    ) -> None:
        self._runtime = runtime
        self._access = access
        self._trusted = trusted
        self._smart = smart

    async def respond(self, request: FhirRequest) -> FhirResponse:
        """The answer; never raises but for cancellation. Every error is an OperationOutcome."""
        is_head = request.method == "HEAD"
        try:
            response = await self._respond(as_get(request))
        except Refusal as refusal:
            response = refusal.response()
        if is_head:
            return FhirResponse(status=response.status, headers=response.headers)
        return response

    async def _respond(self, request: FhirRequest) -> FhirResponse:
        check_accept(request)
        match request.path:
            case ("metadata",):
                if request.method != "GET":
                    raise _not_allowed("GET, HEAD")
                return await self._capabilities(request)
            case ():
                if request.method != "POST":
                    raise _not_allowed("POST")
                return await self._bundle(request)
            case _:
                return await self._interact(request)

    # -- one interaction -------------------------------------------------------------------------

    async def _interact(self, request: FhirRequest) -> FhirResponse:
        interaction = interaction_of(request, place_of(request.method, request.path))
        try:
            permits.check_permits(self._access, request.client, interaction)
            known = self._owners(request)
            owner = owner_of(known, request.release, interaction.resource_type)
            if interaction.kind == pb.KIND_OPERATION:
                permits.check_operation(self._access, request.client, owner, interaction)
            outcome = await self._ask(request, owner, interaction)
            if interaction.kind in _LISTS and outcome.status == HTTPStatus.OK and outcome.body:
                permits.check_results(self._access, request.client, outcome.body)
        except Forbidden as forbidden:
            raise await self._forbidden(request, interaction, forbidden) from forbidden
        await self._record(request, interaction, status=outcome.status)
        return response_of(request, interaction, outcome)

    async def _ask(
        self, request: FhirRequest, owner: Owner, interaction: pb.Interaction
    ) -> pb.Outcome:
        client = request.client
        permits.check_compartment(client, owner)
        interaction.requester.CopyFrom(
            pb.Requester(
                client=client.name,
                user=client.user,
                purpose=client.purpose,
                compartment=client.compartment,
                scopes=client.scopes,
            )
        )
        return await ask(
            self._runtime.call,
            owner,
            interaction,
            timeout_s=request.timeout_s,
            traceparent=request.traceparent,
        )

    # -- bundles ---------------------------------------------------------------------------------

    async def _bundle(self, request: FhirRequest) -> FhirResponse:
        body_type(request, is_patch=False)
        bundle = posted_bundle(request.body)
        if bundle.type == "batch":
            return await run_batch(request, bundle, self._entry)
        return await self._transaction(request, bundle)

    async def _entry(self, request: FhirRequest) -> FhirResponse:
        """One entry of a batch: like a request of its own, but no bundle within a bundle."""
        try:
            return await self._interact(as_get(request))
        except Refusal as refusal:
            return refusal.response()

    async def _transaction(self, request: FhirRequest, bundle: PostedBundle) -> FhirResponse:
        interaction = pb.Interaction(
            kind=pb.KIND_TRANSACTION,
            release=request.release,
            base=request.base,
            body=request.body,
            body_type=FHIR_JSON,
            prefer_return=preferred_return(request),
            is_strict=is_strict(request),
        )
        wanted = [(one, relative(one.url, request.base)) for one in entry_requests(bundle)]
        try:
            for one, url in wanted:
                permits.check_entry(
                    self._access, request.client, one.method, url, one.if_none_exist
                )
            owner = self._one_owner(request, {url for _, url in wanted})
            outcome = await self._ask(request, owner, interaction)
        except Forbidden as forbidden:
            raise await self._forbidden(request, interaction, forbidden) from forbidden
        await self._record(request, interaction, status=outcome.status)
        return response_of(request, interaction, outcome)

    def _one_owner(self, request: FhirRequest, urls: set[str]) -> Owner:
        known = self._owners(request)
        types = {url.partition("?")[0].split("/")[0] for url in urls}
        found = {owner_of(known, request.release, one) for one in types or {""}}
        if len(found) > 1:
            listed = ", ".join(sorted(one.service for one in found))
            text = f"its types belong to several services ({listed}), which no transaction spans: send a batch"
            raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, "not-supported", text)
        return found.pop()

    # -- capabilities ----------------------------------------------------------------------------

    async def _capabilities(self, request: FhirRequest) -> FhirResponse:
        known = self._owners(request)
        answers = await asyncio.gather(*(self._offer(request, owner) for owner in known))
        offers = [
            (owner, answer)
            for owner, answer in zip(known, answers, strict=True)
            if answer is not None
        ]
        body = capability.statement(
            request.release,
            request.base,
            offers,
            now_ms=self._runtime.clock.now_ms(),
            smart=self._smart,
        )
        return FhirResponse(status=HTTPStatus.OK, body=body)

    async def _offer(self, request: FhirRequest, owner: Owner) -> Mapping[str, Any] | None:
        """What an owner offers; None when it does not say: the others still do."""
        wanted = capability.question(request.release, request.base)
        timeout_s = min(request.timeout_s, _CAPABILITIES_S)
        try:
            outcome = await ask(self._runtime.call, owner, wanted, timeout_s=timeout_s)
            found = orjson.loads(outcome.body)
        except (Refusal, orjson.JSONDecodeError):
            self._count("capabilities_missing", owner.service)
            return None
        return found if isinstance(found, dict) else None

    def _owners(self, request: FhirRequest) -> list[Owner]:
        return owners(self._runtime.services(), request.release, trusted=self._trusted)

    # -- records ---------------------------------------------------------------------------------

    async def _record(
        self,
        request: FhirRequest,
        interaction: pb.Interaction,
        *,
        status: int,
        allowed: bool = True,
    ) -> None:
        record = AccessRecord(
            client=request.client,
            deed=permits.deed_of(interaction),
            what=permits.what_of(interaction),
            allowed=allowed,
            status=status,
            remote=request.remote,
        )
        try:
            await self._access.record(record)
        except MeshError as error:
            self._count("access_not_recorded", error.code)
            done = record.deed is Deed.WRITE and allowed
            text = "the access record could not be kept, so nothing is given out" + (
                "; what was asked may have been done" if done else ""
            )
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "transient", text) from error

    async def _forbidden(
        self, request: FhirRequest, interaction: pb.Interaction, forbidden: Forbidden
    ) -> Refusal:
        status = HTTPStatus.FORBIDDEN
        await self._record(request, interaction, status=status, allowed=False)
        return Refusal(status, "forbidden", str(forbidden))

    def _count(self, name: str, reason: str) -> None:
        self._runtime.counters.add(name, who="fhir", reason=reason)


def _not_allowed(methods: str) -> Refusal:
    return Refusal(
        HTTPStatus.METHOD_NOT_ALLOWED,
        "not-supported",
        f"this address takes {methods}",
        headers=(("allow", methods),),
    )


__all__ = ["Facade"]
