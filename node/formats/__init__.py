"""Volumes as files and back: one file for each format, behind the page-long interface of `base`."""
