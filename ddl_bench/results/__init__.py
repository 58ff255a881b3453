"""What came out: rows, groups, tables, statistics and kept models."""
