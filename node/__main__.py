"""`python -m node` is `dicom-node`."""

from node import cli

if __name__ == "__main__":
    cli.start()
