"""FHIR Subscriptions: topics, queues of notifications in the mesh, rest-hooks and WebSockets."""
