"""Between the library and 3D Slicer: nodes, jobs, packages, layouts. The only place that imports slicer, qt or vtk.

Slicer's modules are imported inside functions, so that everything that needs no running Slicer (jobs, texts) can be
used and tested without one.
"""
