"""What is looked for in a table before anything is learnt from it, and what is said of it."""
