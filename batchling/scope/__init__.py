"""A scope: its options, how it is entered and left, and who listens."""
