"""What methods train with: the loop, its recipes, and networks that many methods share."""
