"""What is watched: one file for each kind of check, found by its name in the policy."""
