"""FHIR as it travels: protobuf schemas of R4, R4B and R5, the lossless codec, fast typed reads, and the projection."""
