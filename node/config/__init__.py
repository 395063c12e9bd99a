"""The configuration: file, variables and flags become frozen settings. Only daemon and commands read it."""

from node.config.change import Change, changed
from node.config.reader import FILE_VARIABLE, PREFIX, RESERVED, Mistakes, load

__all__ = ["FILE_VARIABLE", "PREFIX", "RESERVED", "Change", "Mistakes", "changed", "load"]
