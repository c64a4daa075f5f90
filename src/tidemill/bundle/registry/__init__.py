"""Where bundles live: numbered versions, aliases, rollouts, the gate, and the store below (local or object storage)."""
