import sys
from pathlib import Path
from typing import Annotated, Union

import qt
import slicer
import vtk
from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode
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
from MRHarmonizationLib.inference.enhance import OUTPUT_SPACING_RANGE_MM  # noqa: E402
from MRHarmonizationLib.inference.harmonize import NEAREST  # noqa: E402
from MRHarmonizationLib.inference.restore import DEFAULT_DENOISE, DEFAULT_SHARPEN  # noqa: E402
from MRHarmonizationLib.samples import LOW_FIELD_SCAN, REFERENCE  # noqa: E402
from MRHarmonizationLib.slicer_adapter import layouts, records, results, sample_data, texts  # noqa: E402
from MRHarmonizationLib.slicer_adapter.choices import Backend, Device, Mode, Planes  # noqa: E402
from MRHarmonizationLib.slicer_adapter.comparison_panel import ComparisonPanel  # noqa: E402
from MRHarmonizationLib.slicer_adapter.dependencies import requirements_for  # noqa: E402
from MRHarmonizationLib.slicer_adapter.enhance_logic import EnhanceOperations  # noqa: E402
from MRHarmonizationLib.slicer_adapter.enhance_modes import EnhanceMode, StandardiseMode, mode_of, show_widgets  # noqa: E402
from MRHarmonizationLib.slicer_adapter.jobs import SUCCEEDED  # noqa: E402
from MRHarmonizationLib.slicer_adapter.readiness import first_scan  # noqa: E402
from MRHarmonizationLib.slicer_adapter.restore_mode import RestoreMode  # noqa: E402
from MRHarmonizationLib.slicer_adapter.run_control import RunControl  # noqa: E402

BLEND_DELAY_MS = 200


class MRHarmonizationEnhance(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MR Enhance")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "MR Harmonization")]
        self.parent.dependencies = []
        self.parent.contributors = ["The MRHarmonization contributors"]
        self.parent.helpText = _(
            "Enhances low-field, thick-slice and noisy head scans to 1 mm isotropic volumes, gives a scan the "
            "contrast of a reference group, or denoises and sharpens it as much as you say, with the proof beside the "
            "result: before and after side by side, measurements, exact undo. Not for diagnostic use."
        )
        self.parent.acknowledgementText = _("Licence: Apache 2.0. The model cards say what each model was trained on.")
        slicer.app.connect("startupCompleted()", onStartupCompleted)


def onStartupCompleted():
    """Register the sample data, and the layouts so that scenes saved with them open well."""
    sample_data.register_samples(Path(__file__).parent / "Resources" / "Icons")
    layouts.register_layouts()


@parameterNodeWrapper
class MRHarmonizationEnhanceParameterNode:
    """What the user has chosen; saved with the scene.

    inputVolume, outputVolume, referenceVolume - scan, result, better scan to hold the result against.
    mode - whether scans are enhanced, standardised, or denoised and sharpened; members below belong to one or more.
    model - id of a model card; empty: the first one.
    harmonizer, referenceGroup - method (':' and its network) that standardises; id or file of the wanted contrast.
    maskNode, segmentID - where intensities are measured; no mask: inside the object; no segment: all of the mask.
    strength - share of the change that is applied.
    denoise, sharpen - shares of the noise taken away and of the missing detail given back.
    noiseLevel, blurLevel - noise in % of the intensity range, resolution in pixels; 0: estimated.
    interpolated - the slices were interpolated from half their matrix.
    preview - show the current slice denoised and sharpened.
    restorer - id of the model card that denoises; empty: the first one.
    outputSpacingMm - isotropic voxel size of the result; 0: the model's own.
    keepResidual - keep what undoes the change exactly.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    outputVolume: vtkMRMLScalarVolumeNode
    referenceVolume: vtkMRMLScalarVolumeNode
    mode: Mode = Mode.ENHANCE
    model: str = ""
    harmonizer: str = ""
    referenceGroup: str = NEAREST
    # Slicer connects a node selector to typing.Union only, and stores None only where it is named.
    maskNode: Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, None]  # noqa: UP007
    segmentID: str = ""
    strength: Annotated[float, WithinRange(0.0, 1.0)] = 1.0
    denoise: Annotated[float, WithinRange(0.0, 1.0)] = DEFAULT_DENOISE
    sharpen: Annotated[float, WithinRange(0.0, 1.0)] = DEFAULT_SHARPEN
    noiseLevel: Annotated[float, WithinRange(0.0, 50.0)] = 0.0
    blurLevel: Annotated[float, WithinRange(0.0, 4.0)] = 0.0
    interpolated: bool = False
    preview: bool = False
    restorer: str = ""
    device: Device = Device.AUTO
    backend: Backend = Backend.AUTO
    keepResidual: bool = True
    outputSpacingMm: Annotated[float, WithinRange(0.0, OUTPUT_SPACING_RANGE_MM[1])] = 0.0
    planes: Planes = Planes.AXIAL_SAGITTAL


class MRHarmonizationEnhanceWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = self.comparison = self.run = None
        self.modes = {}
        self._parameterNode = self._parameterNodeGuiTag = None
        self._seen = (None, None, None)
        self._blendTimer = None
        self._refusal = ""

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MRHarmonizationEnhance.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = MRHarmonizationEnhanceLogic()
        self.run = RunControl(self.ui, _, self.onRunEnded)
        self.comparison = ComparisonPanel(self.ui, _, self.run.show_error)
        self.modes = {
            Mode.ENHANCE: EnhanceMode(self.ui, _, self.logic, self.run, self.onChosen),
            Mode.STANDARDISE: StandardiseMode(self.ui, _, self.logic, self.onChosen),
            Mode.RESTORE: RestoreMode(self.ui, _, self.logic, self.run),
        }
        self._blendTimer = qt.QTimer()
        self._blendTimer.setSingleShot(True)
        self._blendTimer.setInterval(BLEND_DELAY_MS)
        self._blendTimer.connect("timeout()", self.blend)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndClose)
        self.ui.warningsLabel.setStyleSheet(f"color: {texts.BAD};")
        self.ui.applyButton.connect("clicked(bool)", self.onApplyOrCancel)
        self.ui.sampleButton.connect("clicked(bool)", self.onLoadSample)
        for section in (self.ui.modelSection, self.ui.advancedSection, self.ui.compareSection):
            section.connect("contentsCollapsed(bool)", self.onSectionOpened)
        if slicer.app.layoutManager() is not None:
            slicer.app.layoutManager().connect("layoutChanged(int)", self.onLayoutChanged)
        self.fillModels()
        self.initializeParameterNode()

    # Life of the panel and of the scene

    def cleanup(self):
        self.run.cancel()
        self.hideModes()
        self._blendTimer.stop()
        self.comparison.close()
        if slicer.app.layoutManager() is not None:
            slicer.app.layoutManager().disconnect("layoutChanged(int)", self.onLayoutChanged)
        self.setParameterNode(None)
        self.removeObservers()

    def onReload(self):
        for name in [name for name in sys.modules if name.partition(".")[0] == "MRHarmonizationLib"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def enter(self):
        self.fillModels()
        self.initializeParameterNode()

    def exit(self):
        self.hideModes()
        self.comparison.view.rock(False)
        self.comparison.update()

    def onSceneStartClose(self, caller, event):
        self.run.cancel()
        self.hideModes()
        self.comparison.close()
        self.logic.forget()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.inputVolume:
            self._parameterNode.inputVolume = first_scan(slicer.mrmlScene)

    def setParameterNode(self, parameterNode):
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
        self._parameterNode = parameterNode
        if parameterNode:
            self._seen = (parameterNode.inputVolume, None, parameterNode.mode)
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
            self.onParametersModified()

    # Choices

    def onParametersModified(self, caller=None, event=None):
        parameters = self._parameterNode
        if not parameters:
            return
        if self.run.task and self.run.task.input_node.GetScene() is None:
            self.run.cancel()
        scan, result, mode = parameters.inputVolume, parameters.outputVolume, parameters.mode
        scanBefore, resultBefore, modeBefore = self._seen
        self._seen = (scan, result, mode)
        if records.is_output(result):
            if scan is not scanBefore and records.input_of(result) is not scan:
                parameters.outputVolume = None  # another scan gets a result of its own
                return
            if mode_of(result) is not mode:
                if result is not resultBefore:
                    parameters.mode = mode_of(result)  # a result is shown as it was made
                else:
                    parameters.outputVolume = None  # and another task makes a result of its own
                return
        if result is not resultBefore and records.is_output(result):
            parameters.strength = results.strength_of(result)
        elif self.canBlend() and parameters.strength != results.strength_of(result):
            self._blendTimer.start()
        if mode is not modeBefore:
            self.run.say("")
            self.modes[modeBefore].hide()
        self.comparison.set_result(result, parameters.referenceVolume, parameters.planes.value)
        self.updatePanel()

    def fillModels(self):
        """List the models, methods and reference groups that can be found, keeping the chosen ones."""
        for mode in self.modes.values():
            mode.fill()
        if self._parameterNode:
            self.updatePanel()

    def onChosen(self, name, value):
        """Take in what the user has chosen from a list."""
        if self._parameterNode:
            setattr(self._parameterNode, name, value)

    def onLoadSample(self):
        """Load the simulated low-field scan, and the scan it was simulated from as reference."""
        with slicer.util.tryWithErrorDisplay(_("The sample cannot be loaded."), waitCursor=True):
            sample_data.register_samples(Path(self.resourcePath("Icons")))
            self._parameterNode.referenceVolume = sample_data.load_sample(REFERENCE)
            self._parameterNode.inputVolume = sample_data.load_sample(LOW_FIELD_SCAN)
            self._parameterNode.outputVolume = None

    # Running

    def onApplyOrCancel(self, checked=False):
        if self.run.task:
            self.run.cancel()
        else:
            self.run.run(self.startTask)
            self.updatePanel()

    def startTask(self):
        parameters = self._parameterNode
        return self.modes[parameters.mode].start(parameters, self.run.on_progress)

    def onRunEnded(self, task):
        parameters = self._parameterNode
        self.logic.forget()
        if parameters and task.state == SUCCEEDED and task.input_node is parameters.inputVolume:
            if parameters.outputVolume is task.output_node:
                self.comparison.voxels_changed()
            parameters.outputVolume = task.output_node
            if self.parent.isEntered:
                self.comparison.show()
        if parameters:
            self.updatePanel()

    def canBlend(self):
        """Whether the shown result is the chosen scan's and its strength can be changed without the network."""
        parameters = self._parameterNode
        if not parameters or self.run.task or not records.is_output(parameters.outputVolume):
            return False
        result = parameters.outputVolume
        return records.input_of(result) is parameters.inputVolume and self.logic.canSetStrength(result)

    def blend(self):
        """Give the result the strength the slider shows, without running the network."""
        if not self.canBlend():
            return
        result = self._parameterNode.outputVolume
        try:
            self.logic.setStrength(result, self._parameterNode.strength)
        except MRHarmonizationError as error:
            self.run.show_error(error)
            self._parameterNode.strength = results.strength_of(result)
            return
        self.comparison.voxels_changed()

    # What the panel says

    def hideModes(self):
        """Take back what the tasks show outside of the panel."""
        for mode in self.modes.values():
            mode.hide()

    def chosenModel(self):
        """The card of the chosen model; None where there is no model at all."""
        return self.modes[Mode.ENHANCE].card(self._parameterNode)

    def updatePanel(self):
        parameters, ui = self._parameterNode, self.ui
        show_widgets(ui, parameters.mode)
        mode = self.modes[parameters.mode]
        mode.show(parameters)
        ready = mode.readiness(parameters)
        ui.modelSection.text = mode.title()
        ui.inputInfoLabel.text = ready.info
        ui.warningsLabel.text = texts.warnings_text(ready.warnings)
        ui.warningsLabel.visible = bool(ready.warnings)
        for part in (ui.modeComboBox, ui.scanSection, ui.modelSection, ui.resultSection, ui.advancedSection):
            part.enabled = self.run.task is None
        self.run.show(ready.refusal or ready.missing, mode.ready_text())
        if self.run.task is None and ready.refusal != self._refusal:
            self.run.say(texts.sentence(ready.refusal), texts.WRONG)
            self._refusal = ready.refusal

    def onSectionOpened(self, collapsed=False):
        if self._parameterNode:
            show_widgets(self.ui, self._parameterNode.mode)

    def onLayoutChanged(self, layout=0):
        self.comparison.update()


class MRHarmonizationEnhanceLogic(ScriptedLoadableModuleLogic, EnhanceOperations):
    """Enhance volumes, standardise their contrast, denoise and sharpen them from Python, with or without the panel.

    ``process``, ``standardise`` and ``restore`` wait for the result; all else is described in ``EnhanceOperations``.

    Example::

        from MRHarmonizationEnhance import MRHarmonizationEnhanceLogic

        logic = MRHarmonizationEnhanceLogic()
        for scan in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
            enhanced = logic.process(scan, model="lowfield", strength=0.8)
            logic.standardise(enhanced, method="nyul", reference="t1-head")
    """

    def __init__(self, runner=None, installer=None):
        ScriptedLoadableModuleLogic.__init__(self)
        EnhanceOperations.__init__(self, runner, installer)

    def getParameterNode(self):
        return MRHarmonizationEnhanceParameterNode(super().getParameterNode())


class MRHarmonizationEnhanceTest(ScriptedLoadableModuleTest):
    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        for test in (self.test_wrong_inputs, self.test_sample, self.test_standardise_sample):
            self.setUp()
            test()

    def test_wrong_inputs(self):
        """Each mistake is named, nothing is added to the scene."""
        logic = MRHarmonizationEnhanceLogic()
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
        for node in (None, empty, labels):
            try:
                logic.process(node)
            except MRHarmonizationError:
                continue
            raise AssertionError(f"{node} was not refused")
        assert len(slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")) == 2

    def test_sample(self):
        """The sample scan is enhanced, undone and redone, where the packages for it are installed."""
        logic = MRHarmonizationEnhanceLogic()
        if logic.installer.missing(requirements_for()) or not logic.models():
            self.delayDisplay("Packages or models are not installed: the sample was not enhanced")
            return
        onStartupCompleted()
        scan = sample_data.load_sample(LOW_FIELD_SCAN)
        result = logic.process(scan, model=logic.models()[0].id, keepResidual=True)
        enhanced = slicer.util.arrayFromVolume(result).copy()
        logic.undo(result)
        assert not (slicer.util.arrayFromVolume(result) == enhanced).all()
        logic.undo(result)
        assert (slicer.util.arrayFromVolume(result) == enhanced).all()

    def test_standardise_sample(self):
        """The sample scan gets the contrast of a reference, where the packages for it are installed."""
        logic = MRHarmonizationEnhanceLogic()
        if logic.installer.missing(requirements_for()):
            self.delayDisplay("Packages are not installed: the sample was not standardised")
            return
        onStartupCompleted()
        scan = sample_data.load_sample(LOW_FIELD_SCAN)
        result = logic.standardise(scan, method="percentile", reference="t1-head", keepResidual=True)
        assert result.GetImageData().GetDimensions() == scan.GetImageData().GetDimensions()
        assert results.strength_of(result) == 1
        logic.undo(result)
        assert (slicer.util.arrayFromVolume(result) == slicer.util.arrayFromVolume(scan)).all()
