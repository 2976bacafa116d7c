"""What a person sees of a scope: folds over events. Nothing here can break a batch."""
