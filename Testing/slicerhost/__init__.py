"""slicerhost: runs 3D Slicer scripted modules without 3D Slicer.

Real: the MRML scene, nodes, logics, displayable managers (PyPI slicer-core), VTK rendering and,
when a Slicer source tree is at hand, Slicer's own Python files.  Stood in for: qt/ctk (PySide6),
qMRML widgets, slicer.app, IO manager, SampleData downloads.
"""

from .host import Host

__all__ = ["Host"]
