"""Open Inference Protocol v2 (KServe, Triton), REST and gRPC: requests, answers, documents; no server of its own."""
