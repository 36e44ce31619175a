"""FHIR content without sockets: what routes a resource, which interaction delivers it, what answers say."""
