"""What answers and requests cost: tokens, prices, a receipt's sums and a scope's budget. No network."""
