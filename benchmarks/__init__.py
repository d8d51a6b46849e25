"""Measures the ledger against baselines that run in turn with it: `python -m benchmarks`."""
