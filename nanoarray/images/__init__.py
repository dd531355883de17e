"""Reading micrographs: formats, vendor metadata, pixel size, data bars, tags."""
