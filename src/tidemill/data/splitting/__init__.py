"""Train, validation and test, and which classes each of them has."""
