"""The Open Inference Protocol's doors: REST paths, the gRPC service, and what both ask of a replica."""
