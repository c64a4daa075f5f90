"""One retraining, from the records that are old enough to the version that its gate lets through."""
