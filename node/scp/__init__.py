"""Service class providers, one file per verb: each turns a message into calls below and answers a status."""
