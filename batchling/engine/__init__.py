"""The engine: all that happens to a request between its hook and its provider. See `batcher`."""
