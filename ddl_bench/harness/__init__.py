"""Run cells honestly: workers, clocks, claims, checkpoints, provenance."""
