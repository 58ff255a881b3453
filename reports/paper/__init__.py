"""The DeTraMe-Net paper's tables and claims beside our values."""
