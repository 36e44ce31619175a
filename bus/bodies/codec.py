"""Encode and decode bodies, with one context of zstd for each dictionary. Not safe for several threads at once."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, NamedTuple

import zstandard

from bus.bodies.dictionaries import ID_BYTES, Dictionaries
from bus.bodies.errors import BadBody, BodyReason, DictionaryMissing
from bus.bodies.policy import LEVEL, BodyPolicy, is_worth_it, kind_of
from schemas.generated.medmesh.content.v1 import content_pb2 as pb

_MAX_CONTEXTS: Final = 16
_MAX_WINDOW_BYTES: Final = 8 << 20
_MAGIC: Final = zstandard.FRAME_HEADER
_ID_FIELD_BYTES: Final = ID_BYTES + 2
_PROBE: Final = zstandard.ZstdCompressor(write_content_size=True).compress(b"probe")
"""Any dictionary opens it, and what is none fails there and not at a message."""


class Encoded(NamedTuple):
    """A body as its content carries it."""

    encoding: pb.BodyEncoding.ValueType
    body: bytes
    dictionary_id: bytes = b""

    def __repr__(self) -> str:
        """Without the body, which is protected data."""
        return f"Encoded({pb.BodyEncoding.Name(self.encoding)}, {len(self.body)} bytes)"


class BodyCodec:
    """Bodies in and out of contents. One for each event loop: its contexts are used again and again."""

    def __init__(
        self, dictionaries: Dictionaries | None = None, policy: BodyPolicy | None = None
    ) -> None:
        self.dictionaries = dictionaries or Dictionaries()
        self.policy = policy or BodyPolicy()
        self._compressors: dict[bytes, zstandard.ZstdCompressor] = {}
        self._decompressors: OrderedDict[bytes, zstandard.ZstdDecompressor] = OrderedDict()

    def encode(self, content_type: str, body: bytes) -> Encoded:
        """The smallest form that the policy allows; the body as it is where nothing worthwhile is saved."""
        size = len(body)
        if not self.policy.may_shrink(content_type, size):
            return Encoded(pb.BODY_ENCODING_IDENTITY, body)
        kind = kind_of(content_type, size)
        dictionary_id = self.dictionaries.open_for(kind) if kind else b""
        frame = self._compressor(dictionary_id).compress(body)
        if not is_worth_it(size, len(frame) + (_ID_FIELD_BYTES if dictionary_id else 0)):
            return Encoded(pb.BODY_ENCODING_IDENTITY, body)
        if dictionary_id:
            return Encoded(pb.BODY_ENCODING_ZSTD_DICTIONARY, frame, dictionary_id)
        return Encoded(pb.BODY_ENCODING_ZSTD, frame)

    def decode(self, content: pb.Content) -> bytes:
        """The body as its sender had it: exactly `raw_size` bytes, which the sender has signed.

        Raises `DictionaryMissing` (fetch it, `learn` it, decode again) or `BadBody` with its reason. Nothing is
        allocated for a size that the content does not say or the policy does not allow.
        """
        encoding, body, size = content.encoding, content.body, content.raw_size
        if encoding == pb.BODY_ENCODING_IDENTITY:
            _check_identity(size, len(body), content.dictionary_id)
            return body
        if encoding == pb.BODY_ENCODING_ZSTD:
            return self._unpack(body, size, b"")
        if encoding == pb.BODY_ENCODING_ZSTD_DICTIONARY:
            if len(content.dictionary_id) != ID_BYTES:
                raise BadBody(
                    BodyReason.WRONG_DICTIONARY,
                    f"the id of the dictionary has {len(content.dictionary_id)} bytes; it is a SHA-256",
                )
            return self._unpack(body, size, content.dictionary_id)
        raise BadBody(BodyReason.UNKNOWN_ENCODING, f"body encoding {encoding} is not known here")

    def restore(self, content: pb.Content) -> None:
        """Bring a content into the identity encoding, in place. Raises as `decode`."""
        body = self.decode(content)
        if content.encoding != pb.BODY_ENCODING_IDENTITY:
            content.body = body
            content.encoding = pb.BODY_ENCODING_IDENTITY
            content.ClearField("dictionary_id")

    def _unpack(self, frame: bytes, size: int, dictionary_id: bytes) -> bytes:
        if size > self.policy.max_bytes:
            raise BadBody(
                BodyReason.TOO_LARGE,
                f"the body has {size} bytes decoded; at most {self.policy.max_bytes} are taken",
            )
        written_for = _check_frame(frame, size)
        decompressor = self._decompressor(dictionary_id)
        if written_for and written_for != _number_of(self.dictionaries.find(dictionary_id)):
            raise BadBody(BodyReason.WRONG_DICTIONARY, "the frame names another dictionary")
        try:
            body = decompressor.decompress(frame, max_output_size=size, allow_extra_data=False)
        except zstandard.ZstdError:
            raise BadBody(BodyReason.MALFORMED, "the frame cannot be decoded") from None
        if len(body) != size:
            raise BadBody(BodyReason.SIZE_MISMATCH, f"{len(body)} bytes came out, not {size}")
        return body

    def _compressor(self, dictionary_id: bytes) -> zstandard.ZstdCompressor:
        held = self._compressors.get(dictionary_id)
        if held is None:
            dictionary = _load(self.dictionaries.find(dictionary_id)) if dictionary_id else None
            if dictionary is not None:
                dictionary.precompute_compress(level=LEVEL)
            # integrity is the seal's work, and the content names the dictionary: neither is written a second time
            held = self._compressors[dictionary_id] = zstandard.ZstdCompressor(
                level=LEVEL,
                dict_data=dictionary,
                write_content_size=True,
                write_checksum=False,
                write_dict_id=False,
            )
        return held

    def _decompressor(self, dictionary_id: bytes) -> zstandard.ZstdDecompressor:
        held = self._decompressors.get(dictionary_id)
        if held is not None:
            self._decompressors.move_to_end(dictionary_id)
            return held
        dictionary = None
        if dictionary_id:
            raw = self.dictionaries.find(dictionary_id)
            if raw is None:
                raise DictionaryMissing(dictionary_id)
            dictionary = _load(raw)
        try:
            held = zstandard.ZstdDecompressor(
                dict_data=dictionary, max_window_size=_MAX_WINDOW_BYTES
            )
            held.decompress(_PROBE)
        except zstandard.ZstdError:
            raise BadBody(
                BodyReason.WRONG_DICTIONARY, "what has that id is no dictionary"
            ) from None
        self._decompressors[dictionary_id] = held
        while len(self._decompressors) > _MAX_CONTEXTS:
            self._decompressors.popitem(last=False)
        return held


def _check_identity(size: int, found: int, dictionary_id: bytes) -> None:
    if size != found:
        raise BadBody(BodyReason.SIZE_MISMATCH, "the body has another size than its content says")
    if dictionary_id:
        raise BadBody(BodyReason.WRONG_DICTIONARY, "a body that is not encoded names a dictionary")


def _check_frame(frame: bytes, size: int) -> int:
    """Look at the frame's header before anything is allocated; returns the dictionary's number, 0 for none."""
    if not size or frame[: len(_MAGIC)] != _MAGIC:
        raise BadBody(BodyReason.MALFORMED, "the body is no zstd frame")
    try:
        header = zstandard.get_frame_parameters(frame)
    except zstandard.ZstdError:
        raise BadBody(BodyReason.MALFORMED, "the frame's header cannot be read") from None
    if header.content_size != size:
        raise BadBody(
            BodyReason.SIZE_MISMATCH, f"the frame says another size than the {size} of its content"
        )
    return header.dict_id


def _load(raw: bytes | None) -> zstandard.ZstdCompressionDict:
    """A dictionary object of its own for each context: preparing one again would free what the other uses."""
    return zstandard.ZstdCompressionDict(raw or b"", dict_type=zstandard.DICT_TYPE_FULLDICT)


def _number_of(raw: bytes | None) -> int:
    return _load(raw).dict_id() if raw else 0


__all__ = ["BodyCodec", "Encoded"]
