"""A PACS that misbehaves on purpose, for tests and for people who try their configuration."""
