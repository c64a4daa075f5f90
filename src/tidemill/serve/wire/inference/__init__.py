"""Open Inference Protocol v2 (KServe, Triton), REST and gRPC: requests, answers and documents as messages."""
