"""Slices become ordered volumes: columns of frames, geometry, sorting, stacks. Pure; reads no file."""
