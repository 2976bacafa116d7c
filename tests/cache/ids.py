"""Ids of batches, in the form that the engine gives them."""

B0, B1, B2, B3, B9 = (f"b{number}{'0' * 22}" for number in (0, 1, 2, 3, 9))
