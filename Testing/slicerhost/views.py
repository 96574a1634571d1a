"""Slice and 3D views: real vtkMRML*Logic and displayable managers, rendered off-screen by VTK,
shown in Qt as pictures.  Only what scripts drive is here (no mouse interaction)."""

import numpy as np
import vtk
from vtkmodules.util.numpy_support import vtk_to_numpy

from .qtbase import QtCore, QtGui, QtWidgets

W = QtWidgets
SLICE_MANAGERS = [
    "vtkMRMLVolumeGlyphSliceDisplayableManager",
    "vtkMRMLModelSliceDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLCrosshairDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
    "vtkMRMLScalarBarDisplayableManager",
    "vtkMRMLColorLegendDisplayableManager",
]
THREED_MANAGERS = [
    "vtkMRMLCameraDisplayableManager",
    "vtkMRMLViewDisplayableManager",
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLThreeDReformatDisplayableManager",
    "vtkMRMLSegmentationsDisplayableManager3D",
    "vtkMRMLMarkupsDisplayableManager",
    "vtkMRMLTransformsDisplayableManager3D",
    "vtkMRMLVolumeRenderingDisplayableManager",
    "vtkMRMLOrientationMarkerDisplayableManager",
    "vtkMRMLRulerDisplayableManager",
]


class _Canvas(W.QWidget):
    def __init__(self, view):
        W.QWidget.__init__(self, view)
        self._view = view
        self.setMinimumSize(60, 60)

    def paintEvent(self, _e):
        p = QtGui.QPainter(self)
        img = self._view._picture()
        if img is not None:
            p.drawImage(self.rect, img)
        p.end()

    def resizeEvent(self, e):
        self._view._resized(e.size())


class ctkVTKAbstractView(W.QWidget):
    _pq_shim = True

    def __init__(self, parent=None):
        W.QWidget.__init__(self, parent)
        self._rw = vtk.vtkRenderWindow()
        self._rw.SetOffScreenRendering(1)
        self._rw.SetMultiSamples(0)
        self._rw.SetSize(320, 320)
        self._ren = vtk.vtkRenderer()
        self._rw.AddRenderer(self._ren)
        self._iren = vtk.vtkRenderWindowInteractor()
        self._iren.SetRenderWindow(self._rw)
        self._dirty, self._image, self._group = True, None, None
        self._renders = 0
        self._canvas = _Canvas(self)
        lay = W.QVBoxLayout(self)
        lay.setContentsMargins(0, 0, 0, 0)
        lay.addWidget(self._canvas)

    def renderWindow(self):
        return self._rw

    def renderer(self):
        return self._ren

    def firstRenderer(self):
        return self._ren

    def interactor(self):
        return self._iren

    def cornerAnnotation(self):
        if "_corner" not in self.__dict__:
            self.__dict__["_corner"] = vtk.vtkCornerAnnotation()
        return self._corner

    def scheduleRender(self):
        self._dirty = True
        self._canvas.update()

    def forceRender(self):
        self._dirty = True
        self._picture()
        self._canvas.update()

    def _managers(self, factory, app_logic, names):
        import slicer

        f = factory.GetInstance()
        f.SetMRMLApplicationLogic(app_logic)
        for n in names:
            if hasattr(slicer, n) and not f.IsDisplayableManagerRegistered(n):
                f.RegisterDisplayableManager(n)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.SetRenderer(self._ren)
        self._group.Initialize(f, self._ren)
        self._group.AddObserver(vtk.vtkCommand.UpdateEvent, lambda *_: self.scheduleRender())

    def displayableManagerByClassName(self, name):
        return self._group.GetDisplayableManagerByClassName(name)

    def array(self):
        """The rendered view as an RGB array, top row first."""
        self._rw.Render()
        self._renders += 1
        w, h = self._rw.GetSize()
        buf = vtk.vtkUnsignedCharArray()
        self._rw.GetRGBACharPixelData(0, 0, w - 1, h - 1, 1, buf)
        return np.ascontiguousarray(vtk_to_numpy(buf).reshape(h, w, 4)[::-1, :, :3])

    def _picture(self):
        if self._dirty or self._image is None:
            a = self.array()
            self._image = QtGui.QImage(
                a.data, a.shape[1], a.shape[0], a.shape[1] * 3, QtGui.QImage.Format_RGB888
            ).copy()
            self._dirty = False
        return self._image

    def _resized(self, size):
        self._rw.SetSize(max(16, size.width()), max(16, size.height()))
        self._iren.UpdateSize(max(16, size.width()), max(16, size.height()))
        self._after_resize()
        self._dirty = True

    def _after_resize(self):
        pass


class qMRMLSliceView(ctkVTKAbstractView):
    _pq_shim = True


class qMRMLSliceControllerWidget(W.QWidget):
    _pq_shim = True

    def __init__(self, owner):
        W.QWidget.__init__(self, owner)
        self._owner = owner
        lay = W.QHBoxLayout(self)
        lay.setContentsMargins(2, 1, 2, 1)
        self._label = W.QLabel()
        self._slider = W.QSlider(QtCore.Qt.Horizontal)
        self._slider.setRange(0, 1000)
        self._text = W.QLabel("")
        lay.addWidget(self._label)
        lay.addWidget(self._slider, 1)
        lay.addWidget(self._text)
        self._slider.valueChanged.connect(self._moved)
        self._busy = False

    def _range(self):
        import slicer  # noqa: F401

        r, step = [0.0, 0.0], vtk.reference(1.0)
        ok = self._owner.sliceLogic().GetSliceOffsetRangeResolution(r, step)
        return (r[0], r[1]) if ok else (0.0, 0.0)

    def _moved(self, i):
        if not self._busy:
            lo, hi = self._range()
            self.setSliceOffsetValue(lo + (hi - lo) * i / 1000.0)

    def setSliceOffsetValue(self, offset):
        self._owner.sliceLogic().SetSliceOffset(offset)
        self._sync()

    def _sync(self):
        node = self._owner.mrmlSliceNode()
        self._label.setText(node.GetLayoutLabel() or node.GetLayoutName())
        colour = QtGui.QColor.fromRgbF(*node.GetLayoutColor()).name(0)
        self._label.setStyleSheet(f"background: {colour}; font-weight: bold; padding: 1px 6px;")
        lo, hi = self._range()
        off = self._owner.sliceLogic().GetSliceOffset()
        self._busy = True
        self._slider.setValue(int(round(1000 * (off - lo) / (hi - lo))) if hi > lo else 0)
        self._text.setText(f"{off:.2f}")
        self._busy = False

    def fitSliceToBackground(self):
        self._owner.sliceLogic().FitSliceToBackground()

    def mrmlSliceNode(self):
        return self._owner.mrmlSliceNode()


class qMRMLSliceWidget(W.QWidget):
    _pq_shim = True

    def __init__(self, name, app_logic, scene, parent=None):
        import slicer

        W.QWidget.__init__(self, parent)
        self._name = name
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(app_logic)
        app_logic.GetSliceLogics().AddItem(self._logic)
        self._logic.SetMRMLScene(scene)
        node = scene.GetSingletonNode(name, "vtkMRMLSliceNode")
        self._logic.SetSliceNode(node)  # made by the layout logic
        self._view = qMRMLSliceView(self)
        v = self._view
        v._ren.GetActiveCamera().ParallelProjectionOn()
        overlay = vtk.vtkRenderer()
        overlay.GetActiveCamera().ParallelProjectionOn()
        overlay.SetLayer(1)
        v._rw.SetNumberOfLayers(2)
        v._rw.AddRenderer(overlay)
        v._managers(slicer.vtkMRMLSliceViewDisplayableManagerFactory, app_logic, SLICE_MANAGERS)
        v._group.SetMRMLDisplayableNode(self._logic.GetSliceNode())
        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        self._actor = vtk.vtkActor2D()
        self._actor.SetMapper(self._mapper)
        self._actor.GetProperty().SetDisplayLocationToBackground()
        self._controller = qMRMLSliceControllerWidget(self)
        lay = W.QVBoxLayout(self)
        lay.setContentsMargins(0, 0, 0, 0)
        lay.setSpacing(0)
        lay.addWidget(self._controller)
        lay.addWidget(v, 1)
        v.__dict__["_after_resize"] = self._fit_window
        self._conn = None
        self._tag = self._logic.AddObserver(vtk.vtkCommand.ModifiedEvent, self._logic_changed)
        self._logic_changed()

    def _logic_changed(self, *_):
        c = self._logic.GetImageDataConnection()
        if c is not self._conn:
            self._conn = c
            self._mapper.SetInputConnection(c)
            has = self._view._ren.HasViewProp(self._actor)
            if c is not None and not has:
                self._view._ren.AddViewProp(self._actor)
            elif c is None and has:
                self._view._ren.RemoveViewProp(self._actor)
        self._controller._sync()
        self._view.scheduleRender()

    def _fit_window(self):
        w, h = self._view._rw.GetSize()
        self._logic.ResizeSliceNode(w, h)

    def sliceLogic(self):
        return self._logic

    logic = sliceLogic

    def sliceView(self):
        return self._view

    viewWidget = sliceView

    def sliceController(self):
        return self._controller

    controllerWidget = sliceController

    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    mrmlAbstractViewNode = mrmlSliceNode

    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()

    def fitSliceToBackground(self):
        self._logic.FitSliceToBackground()

    def setSliceOrientation(self, o):
        self.mrmlSliceNode().SetOrientation(o)

    sliceOrientation = QtCore.Property(str, lambda s: s.mrmlSliceNode().GetOrientation(), setSliceOrientation)
    sliceViewName = QtCore.Property(str, lambda s: s._name, lambda s, v: None)


class qMRMLThreeDView(ctkVTKAbstractView):
    _pq_shim = True

    def mrmlViewNode(self):
        return self._node

    def cameraNode(self):
        return self.displayableManagerByClassName("vtkMRMLCameraDisplayableManager").GetCameraNode()

    def resetFocalPoint(self):
        b = [0.0] * 6
        self._ren.ComputeVisiblePropBounds(b)
        if b[0] <= b[1]:
            self._ren.GetActiveCamera().SetFocalPoint((b[0] + b[1]) / 2, (b[2] + b[3]) / 2, (b[4] + b[5]) / 2)
        self._ren.ResetCameraClippingRange()

    def resetCamera(self, *_a):
        self._ren.ResetCamera()

    def rotateToViewAxis(self, axis):
        self.cameraNode().RotateTo(axis)


class qMRMLThreeDWidget(W.QWidget):
    _pq_shim = True

    def __init__(self, name, app_logic, scene, parent=None):
        import slicer

        W.QWidget.__init__(self, parent)
        self._logic = slicer.vtkMRMLViewLogic()
        self._logic.SetMRMLApplicationLogic(app_logic)
        app_logic.GetViewLogics().AddItem(self._logic)
        self._logic.SetMRMLScene(scene)
        node = scene.GetSingletonNode(name, "vtkMRMLViewNode")  # made by the layout logic
        if node is None:
            node = self._logic.AddViewNode(name)
        self._view = qMRMLThreeDView(self)
        self._view.__dict__["_node"] = node
        self._view._ren.GradientBackgroundOn()
        self._view._ren.SetBackground(0.757, 0.765, 0.910)
        self._view._ren.SetBackground2(0.455, 0.471, 0.745)
        self._view._managers(slicer.vtkMRMLThreeDViewDisplayableManagerFactory, app_logic, THREED_MANAGERS)
        self._view._group.SetMRMLDisplayableNode(node)
        lay = W.QVBoxLayout(self)
        lay.setContentsMargins(0, 0, 0, 0)
        lay.addWidget(self._view)

    def threeDView(self):
        return self._view

    viewWidget = threeDView

    def viewLogic(self):
        return self._logic

    logic = viewLogic

    def mrmlViewNode(self):
        return self._view._node

    mrmlAbstractViewNode = mrmlViewNode
