"""The independent judgement of the v2 to FHIR mapping: facts, oracles, judges, floors. README.md explains it."""
