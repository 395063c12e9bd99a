"""Rows of a table become stacks: parted by what they are, laid out by where they lie."""
