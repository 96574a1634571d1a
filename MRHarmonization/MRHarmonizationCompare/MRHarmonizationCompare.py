import sys
from pathlib import Path
from typing import Annotated, Union

import slicer
import vtk
from slicer import vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, vtkMRMLSegmentationNode, vtkMRMLTableNode
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.parameterNodeWrapper import Choice, WithinRange, parameterNodeWrapper
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
from MRHarmonizationLib.samples import LOW_FIELD_SCAN, REFERENCE  # noqa: E402
from MRHarmonizationLib.slicer_adapter import comparisons, dependencies, derived, layouts, sample_data, texts  # noqa: E402
from MRHarmonizationLib.slicer_adapter.choices import Planes  # noqa: E402
from MRHarmonizationLib.slicer_adapter.compare_choices import CompareChoices  # noqa: E402
from MRHarmonizationLib.slicer_adapter.compare_logic import CompareOperations  # noqa: E402
from MRHarmonizationLib.slicer_adapter.compare_readiness import linked, newest_pair, readiness  # noqa: E402
from MRHarmonizationLib.slicer_adapter.compare_results import CompareResults  # noqa: E402
from MRHarmonizationLib.slicer_adapter.compare_views import CompareViews  # noqa: E402
from MRHarmonizationLib.slicer_adapter.jobs import SUCCEEDED  # noqa: E402
from MRHarmonizationLib.slicer_adapter.run_control import RunControl  # noqa: E402

MAP_WINDOWS = [3, 5, 7, 9]


class MRHarmonizationCompare(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("MR Compare")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "MR Harmonization")]
        self.parent.dependencies = []
        self.parent.contributors = ["The MRHarmonization contributors"]
        self.parent.helpText = _(
            "Shows what processing did to a head scan: before and after in linked views, power spectrum, histogram and "
            "texture as curves and maps, similarity, noise and sharpness as numbers, volumes of brain structures, and "
            "a report in one file."
        )
        self.parent.acknowledgementText = _("Licence: Apache 2.0.")
        slicer.app.connect("startupCompleted()", layouts.register_layouts)


@parameterNodeWrapper
class MRHarmonizationCompareParameterNode:
    """What the user has chosen; saved with the scene.

    maskNode, segmentID - where to measure; no mask: the head found in before; no segment: all of the mask.
    brainRegions - whether volumes of brain structures are measured; beforeLabels, afterLabels, referenceLabels - the
    user's own label maps to measure instead of those a network finds.
    mapFeature, mapWindow - texture feature to map, '' for none; side of its window in voxels.
    result - measurements of the comparison that is shown.
    curve, shown - id of the curve in the plot; feature whose maps are shown, '' for the images.
    """

    beforeVolume: vtkMRMLScalarVolumeNode
    afterVolume: vtkMRMLScalarVolumeNode
    referenceVolume: vtkMRMLScalarVolumeNode
    # Slicer connects a node selector to typing.Union only, and stores None only where it is named.
    maskNode: Union[vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode, None]  # noqa: UP007
    segmentID: str = ""
    mapFeature: str = ""
    mapWindow: Annotated[int, Choice(MAP_WINDOWS)] = 5
    allMetrics: bool = False
    brainRegions: bool = False
    beforeLabels: vtkMRMLLabelMapVolumeNode
    afterLabels: vtkMRMLLabelMapVolumeNode
    referenceLabels: vtkMRMLLabelMapVolumeNode
    result: vtkMRMLTableNode
    planes: Planes = Planes.AXIAL
    squareMm: Annotated[float, WithinRange(2.0, 100.0)] = derived.DEFAULT_SQUARE_MM
    sameWindow: bool = True
    curve: str = ""
    shown: str = ""


class MRHarmonizationCompareWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = self.run = self.choices = self.views = self.results = None
        self._parameterNode = None
        self._parameterNodeGuiTag = None
        self._pair = (None, None)
        self._refusal = ""

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        uiWidget = slicer.util.loadUI(self.resourcePath("UI/MRHarmonizationCompare.ui"))
        self.layout.addWidget(uiWidget)
        self.ui = slicer.util.childWidgetVariables(uiWidget)
        self.ui.resultSelector.addAttribute("vtkMRMLTableNode", comparisons.OPERATION_ATTRIBUTE, comparisons.COMPARE)
        uiWidget.setMRMLScene(slicer.mrmlScene)
        self.logic = MRHarmonizationCompareLogic()
        self.run = RunControl(self.ui, _, self.onRunEnded)
        self.choices = CompareChoices(self.ui, _, self.onSegmentChosen, self.onMapChosen)
        self.choices.look_for_network()
        self.views = CompareViews(self.ui, _, self.run.show_error, self.onShownChosen)
        self.results = CompareResults(self.ui, _, self.run.say, self.run.show_error, self.onCurveChosen)

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndClose)
        self.ui.warningsLabel.setStyleSheet(f"color: {texts.BAD};")
        self.ui.applyButton.connect("clicked(bool)", self.onApplyOrCancel)
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
        self.choices.look_for_network()
        self.initializeParameterNode()

    def exit(self):
        self.views.view.rock(False)
        self.views.update()

    def onSceneStartClose(self, caller, event):
        self.run.cancel()
        self.setParameterNode(None)
        self.views.close()
        self.results.show(None, "")
        self.run.say("")
        self.logic.forget()

    def onSceneEndClose(self, caller, event):
        if self.parent.isEntered:
            self.initializeParameterNode()
            if self.views.view.is_laid_out:
                self.views.show()  # as the scene was saved

    def initializeParameterNode(self):
        self.setParameterNode(self.logic.getParameterNode())
        if not self._parameterNode.beforeVolume and not self._parameterNode.afterVolume:
            self.choose(*newest_pair(slicer.mrmlScene))

    def setParameterNode(self, parameterNode):
        if self._parameterNode:
            self._parameterNode.disconnectGui(self._parameterNodeGuiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
        self._parameterNode = parameterNode
        if parameterNode:
            self._pair = (parameterNode.beforeVolume, parameterNode.afterVolume)
            self._parameterNodeGuiTag = parameterNode.connectGui(self.ui)
            self.addObserver(parameterNode, vtk.vtkCommand.ModifiedEvent, self.onParametersModified)
            self.onParametersModified()

    # Choices

    def choose(self, before, after):
        """Choose both images in one step."""
        parameters = self._parameterNode
        modifying = parameters.StartModify()
        parameters.beforeVolume, parameters.afterVolume = before, after
        parameters.EndModify(modifying)

    def onParametersModified(self, caller=None, event=None):
        parameters = self._parameterNode
        if not parameters:
            return
        self.run.cancel_without_inputs()
        former, self._pair = self._pair, (parameters.beforeVolume, parameters.afterVolume)
        if self._pair != former:
            pair = linked(*self._pair, former[1])
            if pair != self._pair:
                self.choose(*pair)
                return
        stored = self.logic.comparison(parameters.result)
        if stored is not None and self._pair != (stored.image("before"), stored.image("after")):
            if self._pair != former:
                parameters.result = None  # another pair gets a comparison of its own
            else:
                self.recall(stored)
            return
        self.choices.show(parameters.maskNode, parameters.segmentID, parameters.mapFeature)
        self.choices.show_regions(self.labels(), parameters.referenceVolume is not None)
        self.views.set_images(*self._pair, parameters.planes.value, parameters.sameWindow, parameters.squareMm)
        self.views.set_result(stored, parameters.shown)
        self.views.show_chart(self.results.show(stored, parameters.curve))
        self.updatePanel()

    def recall(self, stored):
        """Choose the images an earlier comparison was made from."""
        parameters = self._parameterNode
        modifying = parameters.StartModify()
        for role in ("before", "after", "reference"):
            setattr(parameters, f"{role}Volume", stored.image(role))
        parameters.maskNode = stored.image("mask")
        self._pair = (parameters.beforeVolume, parameters.afterVolume)
        parameters.EndModify(modifying)

    def labels(self):
        """Return the user's own label maps of the images; those of an image that is not there do not count."""
        parameters = self._parameterNode
        roles = ("before", "after", "reference") if parameters.referenceVolume else ("before", "after")
        return [getattr(parameters, f"{role}Labels") for role in roles]

    def onSegmentChosen(self, segment):
        self._parameterNode.segmentID = segment

    def onMapChosen(self, feature):
        self._parameterNode.mapFeature = feature

    def onCurveChosen(self, curve):
        self._parameterNode.curve = curve

    def onShownChosen(self, shown):
        if self._parameterNode.shown != shown:
            self._parameterNode.shown = shown
        else:
            self.onParametersModified()

    # Running

    def onApplyOrCancel(self, checked=False):
        if self.run.task:
            self.run.cancel()
        else:
            self.run.run(self.startTask)
            self.updatePanel()

    def startTask(self):
        parameters = self._parameterNode
        regions = parameters.brainRegions and self.ui.regionsCheckBox.enabled
        segmentations = [node for node in self.labels() if node is not None] if regions else []
        self.logic.ensureDependencies(regions and not segmentations)
        return self.logic.start(
            parameters.beforeVolume,
            parameters.afterVolume,
            parameters.referenceVolume,
            parameters.maskNode,
            self.choices.segment,
            features=[parameters.mapFeature] if parameters.mapFeature else [],
            window=parameters.mapWindow,
            extraMetrics=["all"] if parameters.allMetrics else [],
            brainRegions=regions,
            segmentations=segmentations,
            tableNode=parameters.result,
            onProgress=self.run.on_progress,
        )

    def onRunEnded(self, task):
        parameters = self._parameterNode
        if parameters and task.state == SUCCEEDED:
            self.logic.remember(task.stored)
            if self._pair == (task.before, task.after):
                if parameters.result is not task.table:
                    self.views.view.show_curves(True)
                parameters.result = task.table
                if self.parent.isEntered:
                    self.views.show()
        self.onParametersModified()

    # What the panel says

    def updatePanel(self):
        parameters, ui = self._parameterNode, self.ui
        ready = readiness(*self._pair, parameters.referenceVolume, parameters.maskNode)
        ui.infoLabel.text = ready.info
        ui.warningsLabel.text = texts.warnings_text(ready.warnings)
        ui.warningsLabel.visible = bool(ready.warnings)
        for section in (ui.imagesSection, ui.optionsSection, ui.measuresSection):
            section.enabled = self.run.task is None
        self.run.show(ready.refusal or ready.missing, _("Compare the images."))
        if self.run.task is None and ready.refusal != self._refusal:
            self.run.say(texts.sentence(ready.refusal), texts.WRONG)
            self._refusal = ready.refusal

    def onLayoutChanged(self, layout=0):
        self.views.update()


class MRHarmonizationCompareLogic(ScriptedLoadableModuleLogic, CompareOperations):
    """Compare volumes from Python, with or without the panel.

    ``process`` waits for the result; the other methods are those of ``CompareOperations``.

    Example::

        from MRHarmonizationCompare import MRHarmonizationCompareLogic

        result = MRHarmonizationCompareLogic().process(scan, enhanced, truth, features=["contrast"])
        print(result.value("ssim"), result.notes)
        result.exportReport("/data/report")
    """

    def __init__(self, runner=None, installer=None):
        ScriptedLoadableModuleLogic.__init__(self)
        CompareOperations.__init__(self, runner, installer)

    def getParameterNode(self):
        return MRHarmonizationCompareParameterNode(super().getParameterNode())


class MRHarmonizationCompareTest(ScriptedLoadableModuleTest):
    def setUp(self):
        slicer.mrmlScene.Clear()

    def runTest(self):
        self.setUp()
        self.test_wrong_inputs()
        self.setUp()
        self.test_sample()

    def test_wrong_inputs(self):
        """Each mistake is named, nothing is added to the scene."""
        logic = MRHarmonizationCompareLogic()
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
        for pair in ((None, None), (empty, empty), (empty, None)):
            try:
                logic.process(*pair)
            except MRHarmonizationError:
                continue
            raise AssertionError(f"{pair} was not refused")
        assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0

    def test_sample(self):
        """The simulated low-field scan is compared with what it was made from, where the packages are installed."""
        logic = MRHarmonizationCompareLogic()
        if logic.installer.missing(dependencies.requirements_for_comparison()):
            self.delayDisplay("Packages are not installed: the sample was not compared")
            return
        sample_data.register_samples(Path(__file__).parent / "Resources" / "Icons")
        before, after = sample_data.load_sample(LOW_FIELD_SCAN), sample_data.load_sample(REFERENCE)
        result = logic.process(before, after)
        assert result.value("ssim") < 1
        assert "psd_radial" in result.charts
