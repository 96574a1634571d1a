import sys
from pathlib import Path
from typing import Annotated

import qt
import slicer
import vtk
from slicer import vtkMRMLScalarVolumeNode
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
from MRHarmonizationLib.inference.enhance import OUTPUT_SPACING_RANGE_MM, EnhanceRequest  # noqa: E402
from MRHarmonizationLib.samples import LOW_FIELD_SCAN, REFERENCE  # noqa: E402
from MRHarmonizationLib.slicer_adapter import layouts, records, results, sample_data, texts  # noqa: E402
from MRHarmonizationLib.slicer_adapter.choices import Backend, Device, Planes  # noqa: E402
from MRHarmonizationLib.slicer_adapter.comparison_panel import ComparisonPanel  # noqa: E402
from MRHarmonizationLib.slicer_adapter.dependencies import SlicerDependencyInstaller, requirements_for  # noqa: E402
from MRHarmonizationLib.slicer_adapter.jobs import SUCCEEDED, SubprocessRunner  # noqa: E402
from MRHarmonizationLib.slicer_adapter.readiness import first_scan, readiness  # noqa: E402
from MRHarmonizationLib.slicer_adapter.run_control import RunControl  # noqa: E402
from MRHarmonizationLib.slicer_adapter.tasks import EnhanceTask  # noqa: E402
from MRHarmonizationLib.weights.card import read_card  # noqa: E402
from MRHarmonizationLib.weights.store import get_model, import_weights, list_models  # noqa: E402

BLEND_DELAY_MS = 200


class MRHarmonizationEnhance(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MR Enhance")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "MR Harmonization")]
        self.parent.dependencies = []
        self.parent.contributors = ["The MRHarmonization contributors"]
        self.parent.helpText = _(
            "Enhances low-field, thick-slice and noisy head scans to 1 mm isotropic volumes, with the proof beside the "
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
    model - id of a model card; empty: the first one.
    strength - share of the model's change that is applied.
    outputSpacingMm - isotropic voxel size of the result; 0: the model's own.
    keepResidual - keep what undoes the enhancement exactly.
    """

    inputVolume: vtkMRMLScalarVolumeNode
    outputVolume: vtkMRMLScalarVolumeNode
    referenceVolume: vtkMRMLScalarVolumeNode
    model: str = ""
    strength: Annotated[float, WithinRange(0.0, 1.0)] = 1.0
    device: Device = Device.AUTO
    backend: Backend = Backend.AUTO
    keepResidual: bool = True
    outputSpacingMm: Annotated[float, WithinRange(0.0, OUTPUT_SPACING_RANGE_MM[1])] = 0.0
    planes: Planes = Planes.AXIAL_SAGITTAL


class MRHarmonizationEnhanceWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.comparison = None
        self.run = None
        self._cards = []
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._seen = (None, None)
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
        self.ui.importModelButton.connect("clicked(bool)", self.onImportModel)
        self.ui.modelComboBox.connect("currentIndexChanged(int)", self.onModelChosen)
        if slicer.app.layoutManager() is not None:
            slicer.app.layoutManager().connect("layoutChanged(int)", self.onLayoutChanged)
        self.fillModels()
        self.initializeParameterNode()

    # Life of the panel and of the scene

    def cleanup(self):
        self.run.cancel()
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
        self.comparison.view.rock(False)
        self.comparison.update()

    def onSceneStartClose(self, caller, event):
        self.run.cancel()
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
            self._seen = (parameterNode.inputVolume, None)
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
        scan, result = parameters.inputVolume, parameters.outputVolume
        scanBefore, resultBefore = self._seen
        self._seen = (scan, result)
        if result and scan is not scanBefore and records.is_output(result) and records.input_of(result) is not scan:
            parameters.outputVolume = None  # another scan gets a result of its own
            return
        if result and result is not resultBefore and records.is_output(result):
            parameters.strength = results.strength_of(result)
        elif self.canBlend() and parameters.strength != results.strength_of(result):
            self._blendTimer.start()
        self.comparison.set_result(result, parameters.referenceVolume, parameters.planes.value)
        self.updatePanel()

    def fillModels(self):
        """List the models that can be found, keeping the chosen one."""
        combo, self._cards = self.ui.modelComboBox, self.logic.models()
        combo.blockSignals(True)
        combo.clear()
        for card in self._cards:
            combo.addItem(card.title, card.id)
        combo.blockSignals(False)
        if self._parameterNode:
            self.updatePanel()

    def onModelChosen(self, index):
        if self._parameterNode and index >= 0:
            self._parameterNode.model = self.ui.modelComboBox.itemData(index)

    def onImportModel(self):
        """Add a model from disk: its card, and the weight file the card names."""
        path = qt.QFileDialog.getOpenFileName(self.ui.importModelButton, _("Model card"), "", _("Model card (*.json)"))
        if not path:
            return
        try:
            card = self.logic.importModel(path)
        except MRHarmonizationError as error:
            self.run.show_error(error)
            return
        self.fillModels()
        self._parameterNode.model = card.id
        self.run.say(_("Added the model {title}.").format(title=card.title))

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
        self.logic.ensureDependencies(parameters.backend.value, parameters.device.value)
        return self.logic.start(
            parameters.inputVolume,
            parameters.outputVolume,
            model=self.chosenModel().id,
            strength=parameters.strength,
            device=parameters.device.value,
            backend=parameters.backend.value,
            keepResidual=parameters.keepResidual,
            outputSpacingMm=self.spacing(),
            onProgress=self.run.on_progress,
        )

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

    def chosenModel(self):
        """The card of the chosen model; None where there is no model at all."""
        cards = {card.id: card for card in self._cards}
        first = next(iter(self._cards), None)
        return cards.get(self._parameterNode.model) or cards.get(EnhanceRequest().model) or first

    def updatePanel(self):
        parameters, ui = self._parameterNode, self.ui
        card = self.chosenModel()
        ui.modelComboBox.blockSignals(True)
        ui.modelComboBox.currentIndex = ui.modelComboBox.findData(card.id) if card else -1
        ui.modelComboBox.blockSignals(False)
        ui.modelInfoLabel.text = texts.card_text(card) if card else ""
        ui.modelInfoLabel.toolTip = texts.card_help(card) if card else ""
        ready = readiness(parameters.inputVolume, parameters.outputVolume, card, self.spacing())
        ui.inputInfoLabel.text = ready.info
        ui.warningsLabel.text = texts.warnings_text(ready.warnings)
        ui.warningsLabel.visible = bool(ready.warnings)
        for section in (ui.scanSection, ui.modelSection, ui.resultSection, ui.advancedSection):
            section.enabled = self.run.task is None
        self.run.show(ready.refusal or ready.missing, _("Enhance the scan."))
        if self.run.task is None and ready.refusal != self._refusal:
            self.run.say(texts.sentence(ready.refusal), texts.WRONG)
            self._refusal = ready.refusal

    def spacing(self):
        """The output spacing in mm, or None for the model's own."""
        value = self._parameterNode.outputSpacingMm
        return max(value, OUTPUT_SPACING_RANGE_MM[0]) if value > 0 else None

    def onLayoutChanged(self, layout=0):
        self.comparison.update()


class MRHarmonizationEnhanceLogic(ScriptedLoadableModuleLogic):
    """Enhance volumes from Python, with or without the panel.

    Example::

        from MRHarmonizationEnhance import MRHarmonizationEnhanceLogic

        logic = MRHarmonizationEnhanceLogic()
        for scan in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode"):
            logic.process(scan, model="lowfield", strength=0.8)

    Parameters
    ----------
    runner, installer : ProcessRunner, DependencyInstaller
        What starts processes and installs packages; tests pass others.
    """

    def __init__(self, runner=None, installer=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self.runner = runner or SubprocessRunner()
        self.installer = installer or SlicerDependencyInstaller()
        self._blender = results.StrengthBlender()

    def getParameterNode(self):
        return MRHarmonizationEnhanceParameterNode(super().getParameterNode())

    def models(self):
        """The cards of the models that can be used."""
        return list_models("enhance")

    def importModel(self, cardPath):
        """Add a model from disk; its weight file lies beside the card. Returns the card in its new place."""
        path = Path(cardPath)
        return import_weights(path.parent / read_card(path).weights.file, path)

    def ensureDependencies(self, backend="auto", device="auto"):
        """Install what is missing, after asking the user; raises DependencyError."""
        missing = self.installer.missing(requirements_for(backend, device))
        if missing:
            self.installer.install(missing)

    def process(self, inputNode, outputNode=None, model="lowfield", strength=1.0, device="auto", **options):
        """Enhance a volume and wait for the result.

        Parameters
        ----------
        inputNode : vtkMRMLScalarVolumeNode
            Not changed.
        outputNode : vtkMRMLScalarVolumeNode, optional
            Overwritten; a new node ``<input>_<model>`` beside the input if omitted.
        model, strength, device
            As on the command line.
        **options
            backend, keepResidual, outputSpacingMm, onProgress: see ``start``.

        Returns
        -------
        vtkMRMLScalarVolumeNode

        Raises
        ------
        MRHarmonizationError
            With the problem and the remedy.
        """
        return self.start(inputNode, outputNode, model, strength, device, **options).wait()

    def start(
        self,
        inputNode,
        outputNode=None,
        model="lowfield",
        strength=1.0,
        device="auto",
        backend="auto",
        keepResidual=False,
        outputSpacingMm=None,
        onProgress=None,
    ):
        """Start enhancing a volume and return the task at once; call its ``step()`` until it has ended."""
        request = EnhanceRequest(
            model=get_model(model).id,
            strength=strength,
            device=device,
            backend=backend,
            output_spacing_mm=outputSpacingMm or None,
            keep_residual=keepResidual,
        )
        return EnhanceTask(inputNode, outputNode, request, self.runner, onProgress)

    def canSetStrength(self, outputNode):
        """Whether a result's strength can be changed without running the network."""
        return self._blender.can_blend(outputNode)

    def setStrength(self, outputNode, strength):
        """Change the strength of a result that was made with keepResidual."""
        self._blender.blend(outputNode, strength)

    def undo(self, outputNode):
        """Put the resampled input into a result made with keepResidual, bit for bit; again: put the result back."""
        results.toggle_undo(outputNode)

    def difference(self, outputNode):
        """Make or update the volume result − resampled input; returns its node."""
        return results.update_difference(outputNode)

    def forget(self):
        """Free the memory held for changes of strength."""
        self._blender.forget()


class MRHarmonizationEnhanceTest(ScriptedLoadableModuleTest):
    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_wrong_inputs()
        self.setUp()
        self.test_sample()

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
