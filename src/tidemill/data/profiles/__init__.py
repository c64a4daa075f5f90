"""How the values of the training split are distributed, and how much they vary with time."""
