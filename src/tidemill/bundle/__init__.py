"""The deployable directory: made, checked, gated and kept in the registry."""
