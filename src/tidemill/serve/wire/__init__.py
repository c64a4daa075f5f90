"""Bytes to rows and answers, and back, in every protocol; it knows no server, no queue and no key."""
