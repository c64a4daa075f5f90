"""A challenger against the champion: in shadow, as canary and on probation."""
