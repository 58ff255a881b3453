"""Learn dictionaries from samples."""
