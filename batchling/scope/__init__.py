"""A scope: its options, how it is entered and left, and its listeners."""
