"""The engine: everything that happens to a request between the hook and the provider. See `batcher`."""
