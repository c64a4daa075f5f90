"""What answers: the versions that are held, their batches, the service that records, and the shadow."""
