"""The store, the engine that fills it block by block, and provenance."""
