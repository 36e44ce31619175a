"""Tables of the index, by version. A version is frozen once released; changes are a new one."""

from __future__ import annotations

from typing import Final

from bus.transactions.database import Transaction

_VERSIONS: Final = (
    (
        """create table dicom_study (
            id integer primary key,
            uid text not null unique,
            version integer not null,
            changed_ms integer not null,
            PatientID text not null, IssuerOfPatientID text not null, PatientName text not null,
            PatientBirthDate text not null, PatientSex text not null, AccessionNumber text not null,
            StudyDate text not null, StudyTime text not null, StudyID text not null,
            StudyDescription text not null, ReferringPhysicianName text not null)""",
        "create index dicom_study_patient on dicom_study (PatientID)",
        "create index dicom_study_accession on dicom_study (AccessionNumber)",
        "create index dicom_study_date on dicom_study (StudyDate, id)",
        "create index dicom_study_name on dicom_study (PatientName collate nocase)",
        """create table dicom_series (
            id integer primary key,
            study integer not null references dicom_study (id),
            uid text not null unique,
            Modality text not null, SeriesNumber text not null, SeriesDescription text not null,
            SeriesDate text not null, SeriesTime text not null, BodyPartExamined text not null,
            Laterality text not null, PerformedProcedureStepStartDate text not null,
            PerformedProcedureStepStartTime text not null, Manufacturer text not null,
            StationName text not null, InstitutionName text not null)""",
        "create index dicom_series_study on dicom_series (study)",
        """create table dicom_instance (
            id integer primary key,
            series integer not null references dicom_series (id),
            uid text not null unique,
            sop_class text not null, transfer_syntax text not null,
            blob text not null, size integer not null,
            calling text not null, called text not null, received_ms integer not null,
            InstanceNumber text not null, "Rows" text not null, Columns text not null,
            NumberOfFrames text not null, ContentDate text not null, ContentTime text not null,
            BurnedInAnnotation text not null)""",
        "create index dicom_instance_series on dicom_instance (series)",
        """create table dicom_quarantine (
            id integer primary key,
            blob text not null, size integer not null, transfer_syntax text not null,
            reason text not null, calling text not null, called text not null,
            received_ms integer not null)""",
    ),
)


async def migrate(transaction: Transaction) -> None:
    """Bring the tables to this version."""
    await transaction.execute(
        "create table if not exists dicom_schema (version integer not null primary key)"
    )
    rows = await transaction.fetch("select coalesce(max(version), 0) from dicom_schema")
    present = int(rows[0][0] or 0)
    for version, statements in enumerate(_VERSIONS[present:], start=present + 1):
        for statement in statements:
            await transaction.execute(statement)
        await transaction.execute("insert into dicom_schema (version) values (?)", (version,))


__all__ = ["migrate"]
