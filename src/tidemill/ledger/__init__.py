"""The ledger: the durable record of answers given and labels received (no torch)."""
