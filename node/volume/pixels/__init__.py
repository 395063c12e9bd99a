"""Stored samples become values: cells of any width, colours, tables, overlays, scaling."""
