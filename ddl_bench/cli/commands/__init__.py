"""The commands as a user types them: arguments, options and help. What they do is imported late."""
