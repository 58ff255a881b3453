"""What needs a GPU: the pack that shows the suite on one, and what of it runs without."""
