"""One folder a protocol: codec, convert, config, server, client."""
