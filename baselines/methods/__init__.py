"""The methods of this package: adapters only, one file a method or family."""
