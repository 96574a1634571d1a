"""Stand-ins for ``qMRMLWidget`` and ``qMRMLNodeComboBox`` over the real MRML scene of slicer-core."""

import vtk

from .qtbase import QtCore, QtWidgets, Shiboken, props, take_answer

Signal = QtCore.Signal
W = QtWidgets


class qMRMLWidget(W.QWidget):
    _pq_shim = True
    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        W.QWidget.__init__(self, parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qSlicerWidget(qMRMLWidget):
    _pq_shim = True


class qMRMLNodeComboBox(W.QWidget):
    """Same public names as the C++ class; one flat list of nodes in scene order."""

    _pq_shim = True
    currentNodeChanged = Signal(object)
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAddedByUserAction = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    nodeAboutToBeEdited = Signal(object)
    currentNodeRenamed = Signal(str)
    _pq_adapters = {("currentNodeChanged", ("bool",)): lambda node: (node is not None,)}
    locals().update(
        props(
            nodeTypes=("QStringList", [], "_refresh"),
            showHidden=(bool, False, "_refresh"),
            showChildNodeTypes=(bool, True, "_refresh"),
            hideChildNodeTypes=("QStringList", [], "_refresh"),
            noneEnabled=(bool, False, "_refresh"),
            addEnabled=(bool, True, "_refresh"),
            removeEnabled=(bool, True, "_refresh"),
            editEnabled=(bool, False, "_refresh"),
            renameEnabled=(bool, False, "_refresh"),
            interactionNodeSingletonTag=(str, ""),
            selectNodeUponCreation=(bool, True),
            noneDisplay=(str, "None", "_refresh"),
            sizeAdjustPolicy=(int, 0),
        )
    )

    def __init__(self, parent=None):
        W.QWidget.__init__(self, parent)
        self._scene = None
        self._tags = []
        self._node_tags = []
        self._nodes = []  # what the list shows: node or None
        self._current = None
        self._baseNames = {}
        self._labels = {}
        self._attributes = {}
        self._actions = []
        self._busy = False
        self._combo = W.QComboBox(self)
        self._combo.setSizePolicy(W.QSizePolicy.Expanding, W.QSizePolicy.Fixed)
        lay = W.QHBoxLayout(self)
        lay.setContentsMargins(0, 0, 0, 0)
        lay.addWidget(self._combo)
        self.setFocusProxy(self._combo)
        self._combo.activated.connect(self._activated)

    # -- scene
    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is self._scene:
            return
        for t in self._tags:
            self._scene.RemoveObserver(t)
        self._scene, self._tags = scene, []
        if scene is not None:
            import slicer

            S = slicer.vtkMRMLScene
            self._tags.append(scene.AddObserver(S.NodeAddedEvent, self._node_added))
            self._tags.append(scene.AddObserver(S.NodeAboutToBeRemovedEvent, self._node_about))
            for ev in (
                S.NodeRemovedEvent,
                S.EndCloseEvent,
                S.EndBatchProcessEvent,
                S.EndImportEvent,
                S.EndRestoreEvent,
            ):
                self._tags.append(scene.AddObserver(ev, self._scene_changed))
        self._refresh("scene")
        self.setEnabled(scene is not None)

    def _gone(self):
        """The C++ widget was deleted with its parent: stop observing the scene."""
        if Shiboken.isValid(self):
            return False
        d = self.__dict__
        for t in d["_tags"]:
            d["_scene"].RemoveObserver(t)
        for n, t in d["_node_tags"]:
            n.RemoveObserver(t)
        d["_tags"], d["_node_tags"] = [], []
        return True

    def _scene_changed(self, *_):
        if self._gone():
            return
        if self._scene is not None and not self._scene.IsBatchProcessing():
            self._refresh()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_added(self, _scene, _event, node):
        if self._gone() or not any(node.IsA(t) for t in self.nodeTypes):
            return
        self._scene_changed()  # observed from now on: an attribute set later may let it in
        if self._accepts(node):
            self.nodeAdded.emit(node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _node_about(self, _scene, _event, node):
        if not self._gone() and node in self._nodes:
            self.nodeAboutToBeRemoved.emit(node)

    def _accepts(self, node):
        if node is None:
            return False
        if not self.showHidden and node.GetHideFromEditors():
            return False
        types = list(self.nodeTypes)
        cls = node.GetClassName()
        hit = None
        for t in types:
            if cls == t or (self.showChildNodeTypes and node.IsA(t)):
                hit = t
                break
        if hit is None:
            return False
        if cls not in types and any(node.IsA(h) for h in self.hideChildNodeTypes):
            return False
        for (t, name), value in self._attributes.items():
            if node.IsA(t):
                have = node.GetAttribute(name)
                if have is None or (value not in (None, "") and have != str(value)):
                    return False
        return True

    def _refresh(self, *args):
        """Rebuild the list. Which node is current afterwards follows QComboBox/qMRMLNodeComboBox:
        the first node is taken when the scene is set or the list was entirely empty (and there is no
        None item); when the current one goes, the row above it is taken; otherwise nothing is chosen."""
        if self._busy:
            return
        for n, t in self._node_tags:
            n.RemoveObserver(t)
        self._node_tags = []
        nodes = []
        if self._scene is not None:
            c = self._scene.GetNodes()
            types = list(self.nodeTypes)
            for i in range(c.GetNumberOfItems()):
                n = c.GetItemAsObject(i)
                if any(n.IsA(t) for t in types):
                    if self._accepts(n):
                        nodes.append(n)
                    self._node_tags.append((n, n.AddObserver(vtk.vtkCommand.ModifiedEvent, self._node_modified)))
        was_empty = not self._nodes and not self._actions
        old_row = self._nodes.index(self._current) if self._current in self._nodes else -1
        rows = ([None] if self.noneEnabled else []) + nodes
        keep = None
        if self._current in nodes:
            keep = self._current
        elif self._current is not None:
            keep = rows[min(len(rows) - 1, old_row - 1)] if old_row > 0 and rows else None
        elif not self.noneEnabled and nodes and (was_empty or args == ("scene",)):
            keep = nodes[0]
        self._nodes = rows
        self._fill()
        self._set(keep)

    def _fill(self):
        self._busy = True
        self._combo.clear()
        self._actions = []
        for n in self._nodes:
            self._combo.addItem(self.noneDisplay if n is None else (n.GetName() or ""))
        extra = []
        cur = self._label(list(self.nodeTypes)[0]) if list(self.nodeTypes) else "node"
        if self.renameEnabled:
            extra.append(("Rename current " + cur, self.renameCurrentNode))
        if self.editEnabled:
            extra.append(("Edit current " + cur, self.editCurrentNode))
        if self.addEnabled:
            for t in list(self.nodeTypes):
                extra.append(("Create new " + self._label(t), lambda t=t: self._user_add(t)))
        if self.removeEnabled:
            extra.append(("Delete current " + cur, self.removeCurrentNode))
        for a in self.__dict__.get("_menu_actions", []):
            extra.append((a.text, a.trigger))
        if extra:
            self._combo.insertSeparator(self._combo.count)
            self._actions.append(None)
            for text, f in extra:
                self._combo.addItem(text)
                self._actions.append(f)
        self._combo.setPlaceholderText("Select a " + cur)
        self._busy = False

    def _node_modified(self, node, _event):
        if self._gone():
            return
        listed = node in self._nodes
        if self._accepts(node) != listed:
            self._refresh()
        elif listed:
            i = self._nodes.index(node)
            if self._combo.itemText(i) != (node.GetName() or ""):
                self._combo.setItemText(i, node.GetName() or "")

    def _set(self, node):
        if node is not None and node not in self._nodes:
            node = None
        self._busy = True
        self._combo.setCurrentIndex(self._nodes.index(node) if node in self._nodes else -1)
        self._busy = False
        if node is not self._current:
            self._current = node
            self.currentNodeChanged.emit(node)
            self.currentNodeIDChanged.emit(node.GetID() if node is not None else "")

    def _activated(self, i):
        if self._busy:
            return
        if i < len(self._nodes):
            self._set(self._nodes[i])
            self.nodeActivated.emit(self._current)
            return
        f = self._actions[i - len(self._nodes)]
        self._set(self._current)
        if f:
            f()

    # -- public API
    def currentNode(self):
        return self._current

    def setCurrentNode(self, node):
        if isinstance(node, str):
            node = self._scene.GetNodeByID(node) if self._scene is not None and node else None
        self._set(node)

    def _get_id(self):
        return self._current.GetID() if self._current is not None else ""

    def setCurrentNodeID(self, nodeID):
        self.setCurrentNode(nodeID or "")

    currentNodeID = QtCore.Property(str, _get_id, setCurrentNodeID)
    currentNodeId = QtCore.Property(str, _get_id, setCurrentNodeID)

    def setCurrentNodeIndex(self, index):
        nodes = [n for n in self._nodes if n is not None]
        self._set(nodes[index] if 0 <= index < len(nodes) else None)

    def nodeFromIndex(self, index):
        nodes = [n for n in self._nodes if n is not None]
        return nodes[index] if 0 <= index < len(nodes) else None

    def nodeCount(self):
        return len([n for n in self._nodes if n is not None])

    def addAttribute(self, nodeType, name, value=None):
        self._attributes[(nodeType, name)] = value
        self._refresh()

    def removeAttribute(self, nodeType, name):
        self._attributes.pop((nodeType, name), None)
        self._refresh()

    def _get_base(self):
        return self._baseNames.get("", "")

    def setBaseName(self, name, nodeType=""):
        self._baseNames[nodeType] = name

    baseName = QtCore.Property(str, _get_base, setBaseName)

    def setNodeTypeLabel(self, label, nodeType):
        self._labels[nodeType] = label
        self._refresh()

    def nodeTypeLabel(self, nodeType):
        return self._label(nodeType)

    def _label(self, t):
        if t in self._labels:
            return self._labels[t]
        if self._scene is not None:
            n = self._scene.CreateNodeByClass(t) if self._known(t) else None
            if n is not None:
                label = n.GetNodeTagName()
                if hasattr(n, "GetTypeDisplayName"):
                    label = n.GetTypeDisplayName()
                n.UnRegister(None)
                return label
        return t.replace("vtkMRML", "").replace("Node", "")

    def _known(self, t):
        import slicer

        return hasattr(slicer, t)

    def addMenuAction(self, action):
        self.__dict__.setdefault("_menu_actions", []).append(action)
        self._refresh()

    def addNode(self, nodeType=None):
        t = nodeType or (list(self.nodeTypes) or [None])[0]
        if t not in self.nodeTypes:
            return None
        node = self._scene.CreateNodeByClass(t)
        node.UnRegister(None)
        base = self._baseNames.get(t) or self._baseNames.get("") or self._label(t)
        node.SetName(self._scene.GenerateUniqueName(base))
        for (nt, name), value in self._attributes.items():
            if node.IsA(nt):
                node.SetAttribute(name, "" if value is None else str(value))
        self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self._set(node)
        self.nodeAddedByUser.emit(node)
        return node

    def _user_add(self, t):
        self.nodeAddedByUserAction.emit(self.addNode(t))

    def removeCurrentNode(self):
        if self._current is not None:
            self._scene.RemoveNode(self._current)

    def editCurrentNode(self):
        self.nodeAboutToBeEdited.emit(self._current)

    def renameCurrentNode(self):
        name = take_answer("rename", self._current.GetName(), "")
        if name:
            self._current.SetName(name)
            self.currentNodeRenamed.emit(name)
