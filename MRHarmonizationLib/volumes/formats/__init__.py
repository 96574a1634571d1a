"""One image file format per module: ``read(path) -> Volume`` and, where we write it, ``encode(volume) -> bytes``."""
