"""What watches are made of, and nothing else needs."""
