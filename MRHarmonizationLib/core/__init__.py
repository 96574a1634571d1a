"""Arrays in, arrays out: checks, intensity, masks, tiling, progress. No files, no geometry."""
