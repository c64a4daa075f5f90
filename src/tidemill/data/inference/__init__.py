"""What a column is, from its values: kind, notation, marks of missing values, and what is said about it."""
