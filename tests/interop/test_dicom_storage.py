"""Storage with peers of others, unchanged: dcmtk's programs and pynetdicom, over every data set that pydicom ships."""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pydicom.data
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info
from pynetdicom import AE, build_context

from tests.peers.dicom_node import RunningNode, ran, running_node

FILES = Path(pydicom.data.__file__).parent / "test_files"
SYSTEM_PATH = "/usr/local/bin:/usr/bin:/opt/homebrew/bin"
"""Where dcmtk is: pynetdicom has programs of the same names beside Python."""
CHARSETS = Path(pydicom.data.__file__).parent / "charset_files"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[RunningNode]:
    async with running_node(tmp_path) as running:
        yield running


def dcmtk(program: str) -> str:
    """The program, or a skip with its reason; in CI it must be there."""
    found = shutil.which(program, path=SYSTEM_PATH)
    if found is None:
        assert not os.environ.get("CI"), f"{program} (Debian package dcmtk) is missing"
        pytest.skip(f"{program} (Debian package dcmtk) is missing")
    return found


def is_sendable(path: Path) -> bool:
    """A part 10 file that names its instance, class and transfer syntax."""
    try:
        meta = read_file_meta_info(path)
        dcmread(path, stop_before_pixels=True)
    except Exception:  # noqa: BLE001  # odd files are what this folder is for
        return False
    named = (
        "FileMetaInformationGroupLength",
        "TransferSyntaxUID",
        "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID",
    )
    return all(meta.get(keyword) for keyword in named) and meta.MediaStorageSOPClassUID.startswith(
        "1.2.840.10008.5.1.4.1.1."
    )


def is_whole(path: Path) -> bool:
    """Whether the data set says itself what the file says of it, and where it belongs."""
    meta, found = read_file_meta_info(path), dcmread(path, stop_before_pixels=True)
    return bool(
        found.get("SOPInstanceUID") == meta.MediaStorageSOPInstanceUID
        and found.get("SOPClassUID") == meta.MediaStorageSOPClassUID
        and found.get("StudyInstanceUID")
        and found.get("SeriesInstanceUID")
    )


SENDABLE = sorted(
    path for folder in (FILES, CHARSETS) for path in folder.glob("*.dcm") if is_sendable(path)
)


def data_set_of(path: Path) -> bytes:
    """The bytes behind the file meta information."""
    raw = path.read_bytes()
    return raw[144 + read_file_meta_info(path).FileMetaInformationGroupLength :]


async def test_an_echo_is_answered_and_a_wrong_title_is_told_so(node: RunningNode) -> None:
    echo = [dcmtk("echoscu"), "-aet", "TESTS", "-aec"]
    assert (await ran(*echo, "MEDMESH", "127.0.0.1", str(node.port)))[0] == 0
    code, output = await ran(*echo, "WRONG", "127.0.0.1", str(node.port))
    assert code != 0
    assert "Called AE Title Not Recognized" in output


async def test_a_stranger_is_told_that_its_title_is_not_known(node: RunningNode) -> None:
    echo = [dcmtk("echoscu"), "-aet", "STRANGER", "-aec", "MEDMESH"]
    code, output = await ran(*echo, "127.0.0.1", str(node.port))
    assert code != 0
    assert "Calling AE Title Not Recognized" in output


def sent_raw(port: int, paths: list[Path]) -> dict[Path, int]:
    """Each file's data set sent as it is, by pynetdicom; the status of each."""
    entity = AE(ae_title="PYNETDICOM")
    wanted = {
        (str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID))
        for meta in map(read_file_meta_info, paths)
    }
    entity.requested_contexts = [build_context(*one) for one in sorted(wanted)]
    association = entity.associate("127.0.0.1", port, ae_title="MEDMESH")
    assert association.is_established
    try:
        return {path: association.send_c_store(path).Status for path in paths}
    finally:
        association.release()


async def test_every_data_set_is_stored_and_returned_byte_for_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some files hold the same instance in several syntaxes: each takes the place of the one before.

    Those that do not say themselves which instance they are, or say another, are refused, and kept in quarantine.
    """
    monkeypatch.setattr("pynetdicom._config.STORE_SEND_CHUNKED_DATASET", True)
    assert len(SENDABLE) > 80
    async with running_node(tmp_path, on_conflict="replace") as node:
        statuses = await asyncio.to_thread(sent_raw, node.port, SENDABLE)
        taken = {path for path, status in statuses.items() if status == 0x0000}
        assert taken == {path for path in SENDABLE if is_whole(path)}
        assert {statuses[path] for path in statuses.keys() - taken} == {0xA900, 0xC000}
        stored = {one.data_set.sha256: one.data_set for one in node.stored()}
        kept = {one.data_set.sha256: one.data_set for one in node.quarantined()}
        for path in SENDABLE:
            whole = data_set_of(path)
            claim = (stored if path in taken else kept)[hashlib.sha256(whole).digest()]
            assert claim.transfer_syntax == read_file_meta_info(path).TransferSyntaxUID
            assert await node.content(claim) == whole, path.name


async def test_dcmtk_stores_with_its_own_choice_of_syntaxes(node: RunningNode) -> None:
    for option, name in (
        ([], "CT_small.dcm"),
        (["-xv"], "MR_small_jp2klossless.dcm"),
        (["-xw"], "JPEG2000.dcm"),
        (["-xr"], "SC_rgb_rle.dcm"),
    ):
        store = [dcmtk("storescu"), "-aet", "STORESCU", "-aec", "MEDMESH", *option]
        code, output = await ran(*store, "127.0.0.1", str(node.port), str(FILES / name))
        assert (code, name) == (0, name), output
    assert len(node.stored()) == 4


async def test_the_same_instance_twice_is_one_and_another_content_is_a_conflict(
    node: RunningNode, tmp_path: Path
) -> None:
    first = dcmread(FILES / "CT_small.dcm")
    other = dcmread(FILES / "CT_small.dcm")
    other.SeriesDescription = "changed"
    statuses = [
        await asyncio.to_thread(stored, node.port, one) for one in (first, first, other, first)
    ]
    assert statuses == [0x0000, 0x0000, 0xB000, 0x0000]
    assert len(node.told("instance-stored")) == 1
    assert len(node.told("instance-conflict")) == 1
    (located,) = await node.located(str(first.SOPInstanceUID))
    assert located.blob == node.stored()[0].data_set.sha256.hex()


def stored(port: int, dataset: Dataset) -> int:
    entity = AE(ae_title="PYNETDICOM")
    entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title="MEDMESH")
    try:
        return int(association.send_c_store(dataset).Status)
    finally:
        association.release()
