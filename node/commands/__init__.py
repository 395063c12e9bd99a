"""The commands of the program: a plain function each, and `register` which puts it on the command line."""
