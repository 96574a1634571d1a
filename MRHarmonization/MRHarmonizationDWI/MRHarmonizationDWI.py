import sys
from pathlib import Path
from typing import Annotated, Union

import numpy as np
import slicer
import vtk
from slicer import (
    vtkMRMLDiffusionWeightedVolumeNode,
    vtkMRMLLabelMapVolumeNode,
    vtkMRMLScalarVolumeNode,
    vtkMRMLSegmentationNode,
    vtkMRMLSequenceNode,
    vtkMRMLVectorVolumeNode,
)
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import WithinRange, parameterNodeWrapper
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin


def findLibrary(modulePath):
    """Make MRHarmonizationLib importable and return the folder that holds it.

    Installed, it lies beside the modules; in a source checkout two folders above them.
    """
    folder = Path(modulePath).resolve().parent
    for candidate in (folder, folder.parent.parent):
        if (candidate / "MRHarmonizationLib" / "__init__.py").is_file():
            if str(candidate) not in sys.path:
                sys.path.insert(0, str(candidate))
            return candidate
    raise ImportError(f"MRHarmonizationLib is neither beside nor two folders above {folder}; reinstall the extension")


findLibrary(__file__)

from MRHarmonizationLib.core.errors import MRHarmonizationError  # noqa: E402
from MRHarmonizationLib.slicer_adapter import dependencies, dwi_results, dwi_sources, layouts, texts  # noqa: E402
from MRHarmonizationLib.slicer_adapter.choices import Planes  # noqa: E402
from MRHarmonizationLib.slicer_adapter.dwi_choices import DwiChoices, Noise, OutputGrid  # noqa: E402
from MRHarmonizationLib.slicer_adapter.dwi_import import DwiImport  # noqa: E402
from MRHarmonizationLib.slicer_adapter.dwi_logic import DwiOperations  # noqa: E402
from MRHarmonizationLib.slicer_adapter.dwi_readiness import first_diffusion_scan, readiness  # noqa: E402
from MRHarmonizationLib.slicer_adapter.dwi_table import DwiTable  # noqa: E402
from MRHarmonizationLib.slicer_adapter.dwi_views import DwiViews  # noqa: E402
from MRHarmonizationLib.slicer_adapter.jobs import SUCCEEDED  # noqa: E402
from MRHarmonizationLib.slicer_adapter.run_control import RunControl  # noqa: E402
from MRHarmonizationLib.volumes.dwi import DwiVolume  # noqa: E402
from MRHarmonizationLib.volumes.grid import Grid  # noqa: E402


class MRHarmonizationDWI(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MR Diffusion")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "MR Harmonization")]
        self.parent.dependencies = []
        self.parent.contributors = ["The MRHarmonization contributors"]
        self.parent.helpText = _(
            "Brings diffusion scans of different scanners to one contrast, with one gain for all volumes so that "
            "diffusivity and anisotropy stay, and shows that they did: maps before and after, a table per tissue, "
            "exact undo. Not for diagnostic use."
        )
        self.parent.acknowledgementText = _("Licence: Apache 2.0. The model cards say what each model was trained on.")
        slicer.app.connect("startupCompleted()", layouts.register_layouts)


@parameterNodeWrapper
class MRHarmonizationDWIParameterNode:
    """What the user has chosen; saved with the scene.

    maskNode, segmentID - where the brain is; no mask: found in the scan; no segment: all of the mask.
    sourceNode - series of volumes that still lacks b-values and gradients.
    method - name of the method; empty: the first one.
    target - id of what classical methods aim at, or where it is: in targetNode (a scan) or in targetPath (a file).
    fittedPath - file of a classical method that was fitted to scans of both scanners.
    strength - share of the change that is asked for.
    spacingMm - cubic voxels of the result, where outputGrid asks for them.
    shown, volume - map in the views, '' for the volumes; index of the volume.
    """

    inputVolume: vtkMRMLDiffusionWeightedVolumeNode
    outputVolume: vtkMRMLDiffusionWeightedVolumeNode
    targetNode: vtkMRMLDiffusionWeightedVolumeNode
    # Slicer connects a node selector to typing.Union only, and stores None only where it is named.
    maskNode: Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, None]  # noqa: UP007
    segmentID: str = ""
    sourceNode: Union[vtkMRMLSequenceNode, vtkMRMLVectorVolumeNode, None]  # noqa: UP007
    method: str = ""
    target: str = ""
    targetPath: str = ""
    fittedPath: str = ""
    strength: Annotated[float, WithinRange(0.0, 1.0)] = 1.0
    noise: Noise = Noise.AUTO
    outputGrid: OutputGrid = OutputGrid.SCAN
    spacingMm: Annotated[float, WithinRange(0.5, 10.0)] = 2.0
    keepMaps: bool = True
    keepResidual: bool = False
    planes: Planes = Planes.AXIAL
    sameWindow: bool = False
    shown: str = ""
    volume: int = 0


class MRHarmonizationDWIWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = self.run = self.sources = self.choices = self.views = self.measures = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._seen = (None, None)
        self._refusal = ""

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MRHarmonizationDWI.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        operation = dwi_results.OPERATION_ATTRIBUTE
        self.ui.outputSelector.addAttribute("vtkMRMLDiffusionWeightedVolumeNode", operation, dwi_results.TASK)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = MRHarmonizationDWILogic()
        self.run = RunControl(self.ui, _, self.onRunEnded)
        self.sources = DwiImport(self.ui, _, self.onLoaded, self.run.show_error)
        self.choices = DwiChoices(self.ui, _, self.choose)
        self.views = DwiViews(self.ui, _, self.run.show_error, self.choose)
        self.measures = DwiTable(self.ui, _, self.run.say, self.run.show_error)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndClose)
        self.ui.warningsLabel.setStyleSheet(f"color: {texts.BAD};")
        self.ui.applyButton.connect("clicked(bool)", self.onApplyOrCancel)
        self.ui.undoButton.connect("clicked(bool)", self.onUndo)
        if slicer.app.layoutManager() is not None:
            slicer.app.layoutManager().connect("layoutChanged(int)", self.onLayoutChanged)
        self.initializeParameterNode()

    # Life of the panel and of the scene

    def cleanup(self):
        self.run.cancel()
        self.views.close()
        if slicer.app.layoutManager() is not None:
            slicer.app.layoutManager().disconnect("layoutChanged(int)", self.onLayoutChanged)
        self.setParameterNode(None)
        self.removeObservers()

    def onReload(self):
        for name in [name for name in sys.modules if name.partition(".")[0] == "MRHarmonizationLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def enter(self):
        self.choices.fill()
        self.initializeParameterNode()

    def exit(self):
        self.views.view.rock(False)
        self.views.update()

    def onSceneStartClose(self, caller, event):
        self.run.cancel()
        self.setParameterNode(None)
        self.views.close()
        self.measures.show(None)
        self.run.say("")
        self.logic.forget()

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()
            if self.views.view.is_laid_out:
                self.views.show()  # as the scene was saved

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            self._parameterNode.inputVolume = first_diffusion_scan(slicer.mrmlScene)

    def setParameterNode(self, parameterNode):
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
        self._parameterNode = parameterNode
        if parameterNode:
            self._seen = (parameterNode.inputVolume, None)
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
            self.onParametersModified()

    # Choices

    def choose(self, name, value):
        """Store a choice of the user."""
        if self._parameterNode and getattr(self._parameterNode, name) != value:
            setattr(self._parameterNode, name, value)

    def onParametersModified(self, caller=None, event=None):
        parameters = self._parameterNode
        if not parameters:
            return
        self.run.cancel_without_inputs()
        scan, result = parameters.inputVolume, parameters.outputVolume
        scanBefore, resultBefore = self._seen
        self._seen = (scan, result)
        made = self.logic.result(result)
        if made is not None and made.scan is not scan:
            if scan is not scanBefore:
                parameters.outputVolume = None  # another scan gets a result of its own
                return
            if result is not resultBefore and made.scan is not None:
                parameters.inputVolume = made.scan  # a result brings its scan along
                return
            made = None
        self.choices.show(parameters)
        self.views.set_scan(scan, made, parameters.planes.value, parameters.sameWindow)
        self.views.set_shown(parameters.shown, parameters.volume)
        self.measures.show(made)
        self.updatePanel()

    def onLoaded(self, node):
        """Choose what was loaded as the scan."""
        self._parameterNode.inputVolume = node
        self.run.say(_("Loaded {name}.").format(name=node.GetName()))

    # Running

    def onApplyOrCancel(self, checked=False):
        if self.run.task:
            self.run.cancel()
        else:
            self.run.run(self.startTask)
            self.updatePanel()

    def startTask(self):
        parameters = self._parameterNode
        self.logic.ensureDependencies(report=True)
        return self.logic.start(
            parameters.inputVolume,
            parameters.outputVolume,
            onProgress=self.run.on_progress,
            report=True,
            **self.choices.options(parameters),
        )

    def onRunEnded(self, task):
        parameters = self._parameterNode
        if parameters and task.state == SUCCEEDED:
            self.logic.remember(task.result)
            if task.scan is parameters.inputVolume:
                parameters.outputVolume = task.result.node
                self.onParametersModified()
                self.views.voxels_changed()
                if self.parent.isEntered:
                    self.views.show()
        self.onParametersModified()

    def onUndo(self, checked=False):
        try:
            self.logic.undo(self._parameterNode.outputVolume)
        except MRHarmonizationError as error:
            self.run.show_error(error)
            return
        self.views.voxels_changed()
        self.updatePanel()

    # What the panel says

    def updatePanel(self):
        parameters, ui = self._parameterNode, self.ui
        missing = self.choices.missing(parameters)
        ready = readiness(parameters.inputVolume, parameters.outputVolume, parameters.maskNode, missing)
        ui.infoLabel.text = ready.info
        ui.warningsLabel.text = texts.warnings_text(ready.warnings)
        ui.warningsLabel.visible = bool(ready.warnings)
        for section in (ui.scanSection, ui.importSection, ui.methodSection, ui.resultSection):
            section.enabled = self.run.task is None
        result = parameters.outputVolume
        ui.undoButton.enabled = self.run.task is None and dwi_results.can_undo(result)
        ui.undoButton.text = _("Redo") if dwi_results.is_undone(result) else _("Undo")
        self.run.show(ready.refusal or ready.missing, _("Harmonise the scan."))
        if self.run.task is None and ready.refusal != self._refusal:
            self.run.say(texts.sentence(ready.refusal), texts.WRONG)
            self._refusal = ready.refusal

    def onLayoutChanged(self, layout=0):
        self.views.update()


class MRHarmonizationDWILogic(ScriptedLoadableModuleLogic, DwiOperations):
    """Harmonise diffusion scans from Python, with or without the panel.

    ``process`` waits for the result; the other methods are those of ``DwiOperations``.

    Example::

        from MRHarmonizationDWI import MRHarmonizationDWILogic

        logic = MRHarmonizationDWILogic()
        for scan in slicer.util.getNodesByClass("vtkMRMLDiffusionWeightedVolumeNode"):
            harmonised = logic.process(scan, method="nyul", strength=1.0)
            for row in logic.result(harmonised).rows:
                print(row.title, row.md_change_percent, row.fa_change)
    """

    def __init__(self, runner=None, installer=None):
        ScriptedLoadableModuleLogic.__init__(self)
        DwiOperations.__init__(self, runner, installer)

    def getParameterNode(self):
        return MRHarmonizationDWIParameterNode(super().getParameterNode())


class MRHarmonizationDWITest(ScriptedLoadableModuleTest):
    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_wrong_inputs()
        self.setUp()
        self.test_two_scans()

    def test_wrong_inputs(self):
        """Each mistake is named, nothing is added to the scene."""
        logic = MRHarmonizationDWILogic()
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLDiffusionWeightedVolumeNode", "empty")
        scalar = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "scalar")
        for node in (None, empty, scalar):
            try:
                logic.process(node, method="none")
            except MRHarmonizationError:
                continue
            raise AssertionError(f"{node} was not refused")
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLDiffusionWeightedVolumeNode") == 1

    def test_two_scans(self):
        """A scan is brought to the brightness of another, undone and redone; its gradients stay."""
        logic = MRHarmonizationDWILogic()
        if logic.installer.missing(dependencies.requirements_for()):
            self.delayDisplay("Packages are not installed: nothing was harmonised")
            return
        scan, target = self.makeScan(1000.0), self.makeScan(400.0)
        result = logic.process(scan, target=target, method="global_scaling", noise="none", keepResidual=True)
        harmonised = slicer.util.arrayFromVolume(result).copy()
        assert abs(harmonised.mean() / slicer.util.arrayFromVolume(target).mean() - 1) < 0.05
        assert result.GetDiffusionGradient(1) == scan.GetDiffusionGradient(1)
        assert all(row.md_holds and row.fa_holds for row in logic.result(result).rows)
        logic.undo(result)
        assert (slicer.util.arrayFromVolume(result) == slicer.util.arrayFromVolume(scan)).all()
        logic.undo(result)
        assert (slicer.util.arrayFromVolume(result) == harmonised).all()

    def makeScan(self, brightness):
        """A ball of one isotropic tensor on a dark ground, seven volumes."""
        axes = [(1, 1, 0), (1, -1, 0), (1, 0, 1), (1, 0, -1), (0, 1, 1), (0, 1, -1)]
        vectors = np.vstack([np.zeros((1, 3)), np.array(axes) / np.sqrt(2)])
        k, j, i = np.indices((10, 32, 32))
        ball = (k / 9 - 0.5) ** 2 + (j / 31 - 0.5) ** 2 + (i / 31 - 0.5) ** 2 < 0.15
        values = np.where(ball[..., None], brightness * np.exp([0.0] + 6 * [-0.8]), 0.01 * brightness)
        values += np.random.default_rng(3).normal(0, 0.002 * brightness, values.shape)
        grid = Grid((10, 32, 32), np.diag([2.0, 2.0, 2.0, 1.0]))
        dwi = DwiVolume(np.abs(values).astype(np.float32), grid, [0.0] + 6 * [1000.0], vectors)
        return dwi_sources.new_dwi_node(dwi, "Ball", slicer.mrmlScene)
