"""PDUs against an independent encoder and decoder, and what damaged ones become."""

from __future__ import annotations

import pytest
from pynetdicom import build_context, build_role
from pynetdicom.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ
from pynetdicom.pdu_primitives import (
    A_ASSOCIATE,
    AsynchronousOperationsWindowNegotiation,
    ImplementationClassUIDNotification,
    ImplementationVersionNameNotification,
    MaximumLengthNotification,
    SOPClassExtendedNegotiation,
    UserIdentityNegotiation,
)

from adapters.dicom.uids import (
    EXPLICIT_LITTLE_ENDIAN,
    IMPLEMENTATION_CLASS,
    IMPLICIT_LITTLE_ENDIAN,
    VERIFICATION,
    Uid,
)
from adapters.dicom.upper import parsing, pdus
from adapters.dicom.upper.errors import ProtocolViolation
from adapters.dicom.upper.pdus import (
    AeTitle,
    AnsweredContext,
    AssociateAccept,
    AssociateRequest,
    ContextResult,
    ProposedContext,
    RoleSelection,
    UserIdentity,
    UserInformation,
)

CT = Uid("1.2.840.10008.5.1.4.1.1.2")
REQUEST = AssociateRequest(
    called=AeTitle("MEDMESH"),
    calling=AeTitle("CT 1"),
    contexts=(
        ProposedContext(1, VERIFICATION, (IMPLICIT_LITTLE_ENDIAN,)),
        ProposedContext(3, CT, (EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN)),
    ),
    user=UserInformation(
        max_pdu_bytes=131_072,
        window=(8, 2),
        roles=(RoleSelection(CT, True, True),),
        extended=((CT, b"\x02\x00\x00"),),
        identity=UserIdentity(2, True, b"user", b"secret"),
    ),
)


def theirs() -> A_ASSOCIATE:
    """The same request in the words of pynetdicom."""
    primitive = A_ASSOCIATE()
    primitive.application_context_name = "1.2.840.10008.3.1.1.1"
    primitive.calling_ae_title, primitive.called_ae_title = "CT 1", "MEDMESH"
    first, second = (
        build_context(VERIFICATION, IMPLICIT_LITTLE_ENDIAN),
        build_context(CT, [EXPLICIT_LITTLE_ENDIAN, IMPLICIT_LITTLE_ENDIAN]),
    )
    first.context_id, second.context_id = 1, 3
    primitive.presentation_context_definition_list = [first, second]
    length = MaximumLengthNotification()
    length.maximum_length_received = 131_072
    implementation = ImplementationClassUIDNotification()
    implementation.implementation_class_uid = IMPLEMENTATION_CLASS
    window = AsynchronousOperationsWindowNegotiation()
    window.maximum_number_operations_invoked = 8
    window.maximum_number_operations_performed = 2
    version = ImplementationVersionNameNotification()
    version.implementation_version_name = "MEDMESH_1"
    extended = SOPClassExtendedNegotiation()
    extended.sop_class_uid, extended.service_class_application_information = CT, b"\x02\x00\x00"
    identity = UserIdentityNegotiation()
    identity.user_identity_type, identity.positive_response_requested = 2, True
    identity.primary_field, identity.secondary_field = b"user", b"secret"
    primitive.user_information = [
        length,
        implementation,
        window,
        build_role(CT, scu_role=True, scp_role=True),
        version,
        extended,
        identity,
    ]
    return primitive


def test_a_request_is_written_as_an_independent_encoder_writes_it() -> None:
    pdu = A_ASSOCIATE_RQ()
    pdu.from_primitive(theirs())
    assert pdus.write_request(REQUEST) == pdu.encode()


def test_a_request_is_read_as_it_was_written() -> None:
    assert parsing.read_request(pdus.write_request(REQUEST)[6:]) == REQUEST


def test_an_independent_decoder_reads_our_acceptance() -> None:
    accept = AssociateAccept(
        called=REQUEST.called,
        calling=REQUEST.calling,
        contexts=(
            AnsweredContext(1, ContextResult.ACCEPTED, IMPLICIT_LITTLE_ENDIAN),
            AnsweredContext(3, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, CT),
        ),
        user=UserInformation(max_pdu_bytes=131_072, window=(4, 1)),
    )
    pdu = A_ASSOCIATE_AC()
    pdu.decode(pdus.write_accept(accept))
    found = pdu.to_primitive()
    results = found.presentation_context_definition_results_list
    assert [(one.context_id, one.result) for one in results] == [(1, 0), (3, 4)]
    assert found.maximum_length_received == 131_072
    read = parsing.read_accept(pdus.write_accept(accept)[6:])
    assert read.contexts[0] == accept.contexts[0]
    assert read.user == accept.user


def test_identities_are_never_shown() -> None:
    assert "secret" not in repr(REQUEST)
    assert "user'" not in repr(REQUEST)


BODY = pdus.write_request(REQUEST)[6:]


@pytest.mark.parametrize("cut", range(0, len(BODY), 3))
def test_a_request_cut_anywhere_is_refused_or_shorter(cut: int) -> None:
    try:
        read = parsing.read_request(BODY[:cut])
    except ProtocolViolation:
        return
    assert read != REQUEST


def swapped(old: bytes, new: bytes) -> bytes:
    assert len(old) == len(new)
    assert BODY.count(old) >= 1
    return BODY.replace(old, new, 1)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(swapped(b"CT 1", b"CT\x07 "), "AE title", id="control character"),
        pytest.param(swapped(b"MEDMESH", b"MED\\ESH"), "AE title", id="backslash"),
        pytest.param(swapped(VERIFICATION.encode(), b"../../../../../x "), "UID", id="path"),
        pytest.param(
            swapped(b"\x51\0\0\x04\0\x02\0\0", b"\x51\0\0\x04\0\0\0\x05"), "PDU length", id="tiny"
        ),
        pytest.param(swapped(b"\x51\0\0\x04", b"\x51\0\0\x03"), "bytes", id="short length item"),
        pytest.param(
            swapped(b"\x20\0\0\x2e\x01", b"\x20\0\0\x2e\x03"), "all different", id="same id"
        ),
        pytest.param(swapped(b"\x20\0\0\x2e\x01", b"\x20\0\0\x2e\x02"), "odd", id="even id"),
    ],
)
def test_a_damaged_request_is_refused_with_a_reason(body: bytes, words: str) -> None:
    with pytest.raises(ProtocolViolation, match=words):
        parsing.read_request(body)


def test_unknown_items_are_passed_over() -> None:
    unknown = b"\x99\0\0\x02ab"
    assert parsing.read_request(BODY + unknown) == REQUEST
