"""Differentiable coding layers that several networks share."""
