"""Our own typed interface, `medmesh.gateway.v1.Mesh`: publish, call, follow."""

from gateway.grpc.api.mesh import SERVICE, MeshApi

__all__ = ["SERVICE", "MeshApi"]
