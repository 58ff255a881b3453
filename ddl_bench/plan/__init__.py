"""What to run: tracks, the cells they expand to, and the identity of a cell."""
