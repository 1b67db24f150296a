"""Heavy checks: each `python -m benchmarks.NAME` writes `docs/results/NAME.json` and the page made from it.

No paper: measurement.
"""
