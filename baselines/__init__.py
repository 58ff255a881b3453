"""Methods to compare with, and their parts: pursuits, learners, coding layers, features."""
