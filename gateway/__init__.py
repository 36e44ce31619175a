"""The front door for systems that speak HTTP or gRPC. Nothing is exposed here yet."""
