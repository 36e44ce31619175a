"""gRPC at the gateway: any service of the mesh without generated code, and our own typed interface."""

from gateway.grpc.server import GrpcServer

__all__ = ["GrpcServer"]
