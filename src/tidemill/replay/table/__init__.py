"""What is replayed: the time window, its records and labels in order of time, and injected faults."""
