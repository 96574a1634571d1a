"""Stand-ins for Slicer's qMRML* and qSlicer* widgets."""

from . import ctk_ranges as ctkshim
from .node_combobox import qMRMLNodeComboBox, qMRMLWidget, qSlicerWidget
from .qtbase import props

__all__ = ["qMRMLNodeComboBox", "qMRMLWidget", "qSlicerWidget"]


class qMRMLSliderWidget(ctkshim.ctkSliderWidget):
    _pq_shim = True
    locals().update(props(quantity=(str, ""), unitAwareProperties=(int, 0)))

    def setMRMLScene(self, scene):
        self.__dict__["_scene"] = scene


class qMRMLSpinBox(ctkshim.ctkDoubleSpinBox):
    _pq_shim = True
    locals().update(props(quantity=(str, ""), unitAwareProperties=(int, 0)))

    def setMRMLScene(self, scene):
        self.__dict__["_scene"] = scene


class qMRMLRangeWidget(ctkshim.ctkRangeWidget):
    _pq_shim = True
    locals().update(props(quantity=(str, "")))

    def setMRMLScene(self, scene):
        self.__dict__["_scene"] = scene


def classes():
    """Name -> class of all of them."""
    return {k: v for k, v in globals().items() if k.startswith(("qMRML", "qSlicer"))}
