"""The benchmark suite for deep dictionary learning."""

__version__ = "0.1.0"
