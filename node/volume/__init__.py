"""Slices become ordered volumes. Pure; reads no file.

The words are here: `table` of frames, `geometry`, `stack`, `image`; `onto` turns one grid onto another,
`shown` makes pictures. `reading` fills tables from headers, `sorting` makes stacks of them, `pixels` makes
values of samples, and `arrays` has the volume that programs compute with.
"""
