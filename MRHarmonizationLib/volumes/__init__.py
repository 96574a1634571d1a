"""Arrays with geometry: grids, volumes, resampling, files and DICOM."""
