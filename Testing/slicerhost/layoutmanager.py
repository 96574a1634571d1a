"""The layout manager: real ``vtkMRMLLayoutLogic`` and layout descriptions, views placed in Qt layouts."""

import xml.etree.ElementTree as ElementTree

import vtk

from .plotview import qMRMLPlotWidget
from .qtbase import QtCore, QtWidgets, problem
from .views import qMRMLSliceWidget, qMRMLThreeDWidget

W = QtWidgets
FOUR_UP = 3  # vtkMRMLLayoutNode.SlicerLayoutFourUpView, the layout of a fresh Slicer
NO_LAYOUT = (0, 14)  # vtkMRMLLayoutNode.SlicerLayoutInitialView, SlicerLayoutNone


class qSlicerLayoutManager(QtCore.QObject):
    """Slice, 3-D and plot views of the current layout, also of layouts which a module describes in XML."""

    _pq_shim = True
    layoutChanged = QtCore.Signal(int)

    def __init__(self, app_logic, scene):
        import slicer

        QtCore.QObject.__init__(self)
        self._logic, self._scene = app_logic, scene
        self._layout_logic = slicer.vtkMRMLLayoutLogic()
        self._layout_logic.SetMRMLApplicationLogic(app_logic)
        self._layout_logic.SetMRMLScene(scene)
        self._slices, self._threed, self._plots = {}, {}, {}
        self._paused, self._enabled, self._shown = 0, True, (None, None)
        self._viewport = W.QWidget()
        W.QVBoxLayout(self._viewport).setContentsMargins(0, 0, 0, 0)
        self._content = None
        node = self._layout_logic.GetLayoutNode()
        node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._update)
        scene.AddObserver(scene.StartCloseEvent, self._clear)
        for event in (scene.EndCloseEvent, scene.EndImportEvent, scene.EndRestoreEvent, scene.EndBatchProcessEvent):
            scene.AddObserver(event, self._update)
        node.SetViewArrangement(FOUR_UP)
        self._update()

    # -- building
    def _widgets(self):
        return (*self._slices.values(), *self._threed.values(), *self._plots.values())

    def _clear(self, *_):
        """As the C++ class does while a scene closes."""
        for widget in self._widgets():
            widget.setParent(None)
        self._shown = (None, None)

    def _update(self, *_):
        node = self._layout_logic.GetLayoutNode()
        arrangement, description = node.GetViewArrangement(), node.GetCurrentLayoutDescription() or ""
        if not self._enabled or self._scene.IsBatchProcessing() or (arrangement, description) == self._shown:
            return
        changed, self._shown = arrangement != self._shown[0], (arrangement, description)
        for widget in self._widgets():
            widget.setParent(None)
        if self._content is not None:
            self._content.setParent(None)
            self._content.deleteLater()
            self._content = None
        if not description:
            if arrangement not in NO_LAYOUT:
                problem("layout", f"layout {arrangement} has no description")
            return
        self._content = self._build(ElementTree.fromstring(description))
        self._viewport.layout().addWidget(self._content)
        self._content.show()
        if changed:
            self.layoutChanged.emit(arrangement)

    def _build(self, element):
        if element.tag == "view":
            return self._view(element)
        if element.tag != "layout":
            problem("layout", f"<{element.tag}> is not known to a layout")
            return W.QWidget()
        kind = element.get("type", "horizontal")
        if kind == "tab":
            holder = W.QTabWidget()
            for item in element:
                holder.addTab(self._build(item[0]), item.get("name") or item[0].get("singletontag", ""))
            return holder
        holder = W.QWidget()
        lay = {"horizontal": W.QHBoxLayout, "vertical": W.QVBoxLayout, "grid": W.QGridLayout}[kind](holder)
        lay.setContentsMargins(0, 0, 0, 0)
        lay.setSpacing(2)
        for item in element:
            if item.tag != "item" or len(item) != 1:
                problem("layout", "a layout holds <item>s of one element each")
                continue
            widget = self._build(item[0])
            if kind == "grid":
                span = int(item.get("rowspan", 1)), int(item.get("colspan", 1))
                lay.addWidget(widget, int(item.get("row", 0)), int(item.get("column", 0)), *span)
            else:
                lay.addWidget(widget, 1)
            widget.show()
        return holder

    def _view(self, element):
        name, cls = element.get("singletontag", ""), element.get("class")
        if cls == "vtkMRMLSliceNode":
            if name not in self._slices:
                self._slices[name] = qMRMLSliceWidget(name, self._logic, self._scene)
            return self._slices[name]
        if cls == "vtkMRMLViewNode":
            if name not in self._threed:
                self._threed[name] = qMRMLThreeDWidget(name, self._logic, self._scene)
            return self._threed[name]
        if cls == "vtkMRMLPlotViewNode":
            if name not in self._plots:
                self._plots[name] = qMRMLPlotWidget(name, self._scene)
            self._plots[name]._attach()
            return self._plots[name]
        problem("layout", f"views of class {cls} are not stood in for")
        return W.QWidget()

    # -- what scripts use
    def setLayout(self, arrangement):
        self._layout_logic.GetLayoutNode().SetViewArrangement(int(arrangement))

    layout = QtCore.Property(int, lambda s: s._layout_logic.GetLayoutNode().GetViewArrangement(), setLayout)

    def setEnabled(self, on):
        self._enabled = bool(on)

    enabled = QtCore.Property(bool, lambda s: s._enabled, setEnabled)

    def layoutLogic(self):
        return self._layout_logic

    def viewport(self):
        return self._viewport

    def mrmlScene(self):
        return self._scene

    def sliceViewNames(self):
        return tuple(self._slices)

    def sliceWidget(self, name):
        return self._slices.get(name)

    def threeDWidget(self, which):
        if isinstance(which, str):
            return self._threed.get(which)
        widgets = list(self._threed.values())
        return widgets[which] if which < len(widgets) else None

    def viewWidget(self, node):
        for widget in self._slices.values():
            if widget.mrmlSliceNode() is node:
                return widget
        widgets = (*self._threed.values(), *self._plots.values())
        return next((widget for widget in widgets if widget.mrmlAbstractViewNode() is node), None)

    def plotWidget(self, index):
        widgets = list(self._plots.values())
        return widgets[index] if index < len(widgets) else None

    def mrmlSliceLogics(self):
        return self._logic.GetSliceLogics()

    def mrmlViewLogics(self):
        return self._logic.GetViewLogics()

    threeDViewCount = QtCore.Property(int, lambda s: len(s._threed))
    tableViewCount = QtCore.Property(int, lambda s: 0)
    plotViewCount = QtCore.Property(int, lambda s: len(s._plots))

    def resetThreeDViews(self):
        for w in self._threed.values():
            w.threeDView().resetFocalPoint()
            w.threeDView().resetCamera()

    def resetSliceViews(self):
        for w in self._slices.values():
            w.fitSliceToBackground()

    def setRenderPaused(self, p):
        self._paused += 1 if p else -1

    def pauseRender(self):
        self._paused += 1

    def resumeRender(self):
        self._paused -= 1

    def activeMRMLThreeDViewNode(self):
        return next((w.mrmlViewNode() for w in self._threed.values()), None)
