"""Tables and what is known of them: read, typed, split, checked (no torch)."""
