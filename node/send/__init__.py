"""Destinations: one kind per file behind `base`; the queue, the commands and the demo call them."""
