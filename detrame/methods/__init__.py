"""The methods of this package, one file a method or family."""
