"""Methods of the benchmark that train networks with Q-metric ReLUs, and their controls."""
