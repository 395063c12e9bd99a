"""All SQL of the index: what is held, what came, what became of it; for layers above `files`."""
