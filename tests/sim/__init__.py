"""Simulations of the statistics: how often they are wrong where the truth is known."""
