"""medmesh: the message mesh of a hospital group."""
