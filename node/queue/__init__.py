"""What happens when: calendars, backoff, and the engine that wakes work up."""
