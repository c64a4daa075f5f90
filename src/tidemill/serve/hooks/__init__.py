"""What looks on while a replica answers: observers, metrics and live profiles."""
