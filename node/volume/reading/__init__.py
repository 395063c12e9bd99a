"""Bytes of headers become rows of a table: classic and enhanced objects, mosaics, private elements."""
