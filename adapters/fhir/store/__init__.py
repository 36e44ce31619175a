"""The kind `fhir.store`: a service that owns FHIR resources, in SQLite or PostgreSQL.

`adapter` runs it, `interactions` answers calls, `engine` and its two implementations hold the database, `repository`
writes versions, `indexing` and `search` find them again.
"""
