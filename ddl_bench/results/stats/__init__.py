"""What a difference in accuracy is worth. Accuracies are in percent, differences in points.

The unit of every conclusion about methods is the training. docs/statistics.md explains each
interval in plain words.
"""
