"""Measurements beside peers and targets: `python -m bench [NAME]`. Each `bench_*.py` has `run(bench)`."""
