"""Chat platforms, each translated into the port of `adapters.contract`."""
