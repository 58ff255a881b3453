"""The figures of a report: `registry` lists them, each family of figures has a module."""
