"""When labels came: their delays by class, and from which age on nearly all have come."""
