"""Transactions over the mesh and a database of the user's: outbox, inbox, sagas.

Public API, each in its own module: `database` (the seam), `sqlite`, `postgres` (needs the extra `postgres`), `outbox`,
`relay`, `inbox`, `participant`, `saga` (definitions), `sagas` (begin and look), `runner`. `medmesh.transactions` puts
them together for a program.
"""
