"""What lets requests in: HTTP and gRPC, keys, limits, endpoints and the OpenAPI document."""
