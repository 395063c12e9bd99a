"""Work that the clock starts: when it is due, and what it does. Run by workers."""
