"""The replay under way: processes, traffic, and time that waits for the steward."""
