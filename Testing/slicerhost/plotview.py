"""Plot views: the chart a ``vtkMRMLPlotChartNode`` describes, drawn off-screen by VTK's own chart classes.

Follows qMRMLPlotView.cxx: which columns make a line, styles, labels, logarithmic axes. No mouse interaction.
"""

import vtk

from .qtbase import QtCore, QtWidgets, problem
from .views import ctkVTKAbstractView

W = QtWidgets
BACKGROUND = (255, 253, 246, 255)  # as qMRMLPlotView
NOT_NUMBERS = (vtk.VTK_STRING, vtk.VTK_BIT)


class qMRMLPlotView(W.QWidget):
    """The canvas; ``chart()`` is the real ``vtkChartXY``."""

    _pq_shim = True
    mrmlSceneChanged = QtCore.Signal(object)
    dataSelected = QtCore.Signal(object, object)

    def __init__(self, parent=None):
        W.QWidget.__init__(self, parent)
        self._canvas = ctkVTKAbstractView(self)
        lay = W.QVBoxLayout(self)
        lay.setContentsMargins(0, 0, 0, 0)
        lay.addWidget(self._canvas)
        self._scene = self._node = self._chart_node = None
        self._tags, self._updating = [], False
        self._chart = vtk.vtkChartXY()
        self._actor = vtk.vtkContextActor()
        self._actor.GetScene().AddItem(self._chart)
        self._actor.GetScene().SetRenderer(self._canvas._ren)
        self._canvas._ren.AddActor(self._actor)
        self._canvas._ren.SetBackground(1, 1, 1)
        self._chart.GetBackgroundBrush().SetColor(*BACKGROUND)
        self._canvas.__dict__["_after_resize"] = lambda: self._actor.GetScene().SetDirty(True)
        self._chart.GetLegend().SetHorizontalAlignment(vtk.vtkChartLegend.RIGHT)

    # -- what scripts use
    def chart(self):
        return self._chart

    def scene(self):
        return self._actor.GetScene()

    def renderWindow(self):
        return self._canvas.renderWindow()

    def mrmlScene(self):
        return self._scene

    def mrmlPlotViewNode(self):
        return self._node

    def setMRMLScene(self, scene):
        if scene is self._scene:
            return
        self._scene = scene
        scene.AddObserver(scene.EndBatchProcessEvent, self._reconnect)
        self._reconnect()
        self.mrmlSceneChanged.emit(scene)

    def setMRMLPlotViewNode(self, node):
        self._node = node
        self._reconnect()

    def fitToContent(self):
        self._chart.RecalculateBounds()
        self._canvas.scheduleRender()

    # -- how it works
    def _reconnect(self, *_):
        """Observe the view node, its chart, and what the chart invokes for its series and their tables."""
        for observed, tag in self._tags:
            observed.RemoveObserver(tag)
        self._tags = []
        self._chart_node = self._node.GetPlotChartNode() if self._node is not None else None
        if self._node is not None:
            self._observe(self._node, vtk.vtkCommand.ModifiedEvent, self._view_changed)
        if self._chart_node is not None:
            self._observe(self._chart_node, vtk.vtkCommand.ModifiedEvent, self._update)
            self._observe(self._chart_node, self._chart_node.PlotModifiedEvent, self._update)
        self._update()

    def _observe(self, observed, event, function):
        self._tags.append((observed, observed.AddObserver(event, function)))

    def _view_changed(self, *_):
        if self._node.GetPlotChartNode() is not self._chart_node:
            self._reconnect()
        else:
            self._update()

    def _update(self, *_):
        if self._updating or self._scene is None or self._scene.IsBatchProcessing():
            return
        self._updating = True
        try:
            self._chart.ClearPlots()
            node = self._chart_node
            if node is not None and node.GetScene() is not None:
                for index in range(node.GetNumberOfPlotSeriesNodes()):
                    series = node.GetNthPlotSeriesNode(index)
                    if series is not None:
                        self._add_line(series)
                self._decorate(node)
            else:
                self._chart.SetTitle("")
        finally:
            self._updating = False
        self._canvas.scheduleRender()

    def _add_line(self, series):
        table = series.GetTableNode().GetTable() if series.GetTableNode() is not None else None
        y = table.GetColumnByName(series.GetYColumnName()) if table is not None else None
        x = table.GetColumnByName(series.GetXColumnName()) if table is not None else None
        needs_x = series.IsXColumnRequired()
        if y is None or (needs_x and x is None):
            problem("plot", f"series '{series.GetName()}' names columns its table does not have: nothing is drawn")
            return
        if y.GetDataType() in NOT_NUMBERS or (needs_x and x.GetDataType() in NOT_NUMBERS):
            problem("plot", f"series '{series.GetName()}' is made of columns that are no numbers")
            return
        bars = series.GetPlotType() in (series.PlotTypeBar, series.PlotTypeScatterBar)
        line = vtk.vtkPlotBar() if bars else vtk.vtkPlotLine()
        line.SetWidth(series.GetLineWidth())
        line.SetColorF(*series.GetColor())
        line.SetOpacity(series.GetOpacity())
        if not bars:
            styles = {
                series.LineStyleSolid: vtk.vtkPen.SOLID_LINE,
                series.LineStyleDash: vtk.vtkPen.DASH_LINE,
                series.LineStyleDot: vtk.vtkPen.DOT_LINE,
                series.LineStyleDashDot: vtk.vtkPen.DASH_DOT_LINE,
                series.LineStyleDashDotDot: vtk.vtkPen.DASH_DOT_DOT_LINE,
            }
            line.GetPen().SetLineType(styles.get(series.GetLineStyle(), vtk.vtkPen.NO_PEN))
            line.SetMarkerStyle(series.GetMarkerStyle())  # the numbers are VTK's
            line.SetMarkerSize(series.GetMarkerSize())
        line.SetUseIndexForXSeries(not needs_x)
        line.SetInputData(table, series.GetXColumnName() if needs_x else series.GetYColumnName(), y.GetName())
        line.SetLabel(series.GetName() or y.GetName())
        self._chart.AddPlot(line)

    def _decorate(self, node):
        self._chart.SetTitle(node.GetTitle() or "" if node.GetTitleVisibility() else "")
        self._chart.GetTitleProperties().SetFontSize(node.GetTitleFontSize())
        self._chart.SetShowLegend(node.GetLegendVisibility())
        self._chart.GetLegend().GetLabelProperties().SetFontSize(node.GetLegendFontSize())
        for axis_id in (vtk.vtkAxis.BOTTOM, vtk.vtkAxis.LEFT):
            name = "XAxis" if axis_id == vtk.vtkAxis.BOTTOM else "YAxis"
            axis = self._chart.GetAxis(axis_id)
            visible = getattr(node, f"Get{name}TitleVisibility")()
            axis.SetTitle((getattr(node, f"Get{name}Title")() or "") if visible else "")
            axis.GetTitleProperties().SetFontSize(node.GetAxisTitleFontSize())
            axis.GetLabelProperties().SetFontSize(node.GetAxisLabelFontSize())
            axis.SetGridVisible(node.GetGridVisibility())
            axis.SetLogScale(getattr(node, f"Get{name}LogScale")())
            if getattr(node, f"Get{name}RangeAuto")():
                axis.SetBehavior(vtk.vtkAxis.AUTO)
            else:
                axis.SetBehavior(vtk.vtkAxis.FIXED)
                axis.SetUnscaledRange(*getattr(node, f"Get{name}Range")())
        self._chart.RecalculateBounds()


class qMRMLPlotWidget(W.QWidget):
    """What a layout places: the view and, in Slicer, a bar of controls."""

    _pq_shim = True

    def __init__(self, name, scene, parent=None):
        W.QWidget.__init__(self, parent)
        self._name, self._mrml_scene = name, scene
        self._view = qMRMLPlotView(self)
        self._label = W.QLabel()
        self._label.setAlignment(QtCore.Qt.AlignCenter)
        lay = W.QVBoxLayout(self)
        lay.setContentsMargins(0, 0, 0, 0)
        lay.setSpacing(0)
        lay.addWidget(self._label)
        lay.addWidget(self._view, 1)
        self._attach()

    def _attach(self):
        """Follow the view node of the layout; another one takes its place when a scene is loaded."""
        node = self._mrml_scene.GetSingletonNode(self._name, "vtkMRMLPlotViewNode")
        self._view.setMRMLScene(self._mrml_scene)
        self._view.setMRMLPlotViewNode(node)
        self._label.setText((node.GetLayoutLabel() or node.GetLayoutName()) if node is not None else self._name)

    def plotView(self):
        return self._view

    viewWidget = plotView

    def mrmlPlotViewNode(self):
        return self._view.mrmlPlotViewNode()

    mrmlAbstractViewNode = mrmlPlotViewNode
