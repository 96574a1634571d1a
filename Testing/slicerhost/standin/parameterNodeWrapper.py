"""Stand-in for slicer.parameterNodeWrapper (common types only), written from its documentation.

bool, int, float, str, enum.Enum, pathlib.Path, FloatRange and MRML node members; Annotated with
Default, WithinRange, Minimum, Maximum, Choice, Decimals, SingleStep; connectGui() through the
SlicerParameterName dynamic property.  Where Slicer's sources can be had, use the real package.
"""

import enum
import types
import typing

import ctk
import qt
import slicer
import vtk

__all__ = [
    "parameterNodeWrapper",
    "Default",
    "WithinRange",
    "Minimum",
    "Maximum",
    "Choice",
    "Decimals",
    "SingleStep",
    "RangeBounds",
    "FloatRange",
    "isParameterNodeWrapper",
]


class _Note:
    def __init__(self, *v):
        self.v = v

    def validate(self, value):
        pass


class Default(_Note):
    value = property(lambda s: s.v[0])


class WithinRange(_Note):
    minimum, maximum = property(lambda s: s.v[0]), property(lambda s: s.v[1])

    def validate(self, value):
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value!r} is not within [{self.minimum!r}, {self.maximum!r}]")


class RangeBounds(WithinRange):
    def validate(self, value):
        if not (self.minimum <= value.minimum and value.maximum <= self.maximum):
            raise ValueError(f"{value!r} exceeds [{self.minimum!r}, {self.maximum!r}]")


class Minimum(_Note):
    minimum = property(lambda s: s.v[0])

    def validate(self, value):
        if value < self.minimum:
            raise ValueError(f"{value!r} < {self.minimum!r}")


class Maximum(_Note):
    maximum = property(lambda s: s.v[0])

    def validate(self, value):
        if value > self.maximum:
            raise ValueError(f"{value!r} > {self.maximum!r}")


class Choice(_Note):
    choices = property(lambda s: list(s.v[0]))

    def validate(self, value):
        if value not in self.choices:
            raise ValueError(f"{value!r} is not one of {self.choices!r}")


class Decimals(_Note):
    pass


class SingleStep(_Note):
    pass


class FloatRange:
    def __init__(self, minimum=0.0, maximum=0.0):
        if minimum > maximum:
            raise ValueError("minimum > maximum")
        self.minimum, self.maximum = float(minimum), float(maximum)

    def __eq__(self, o):
        return (self.minimum, self.maximum) == (o.minimum, o.maximum)

    def __repr__(self):
        return f"FloatRange({self.minimum!r}, {self.maximum!r})"


def _is_node(t):
    return isinstance(t, type) and issubclass(t, slicer.vtkMRMLNode)


def _split(t):
    notes = []
    if typing.get_origin(t) is typing.Annotated:
        t, *notes = typing.get_args(t)
    if typing.get_origin(t) is typing.Union and len(typing.get_args(t)) > 2:
        return _NodeUnion(typing.get_args(t)), list(notes)
    if typing.get_origin(t) in (typing.Union, types.UnionType):
        t = next(a for a in typing.get_args(t) if a is not type(None))
    return t, list(notes)


class _NodeUnion:
    """``typing.Union[NodeA, NodeB, None]``, kept as Slicer keeps it: one reference per type, ``name.0``, ``name.1`` …

    Slicer connects a node selector to ``typing.Union`` only (not to ``A | B``), and writes None only where it is named.
    """

    def __init__(self, hints):
        self.types = list(hints)
        if type(None) not in self.types or not all(t is type(None) or _is_node(t) for t in self.types):
            raise TypeError(f"expected a union of node types and None, got {hints}")

    def class_names(self):
        return [t.__name__ for t in self.types if t is not type(None)]

    def read(self, node, name):
        for index in range(len(self.types)):
            found = node.GetNodeReference(f"{name}.{index}")
            if found is not None:
                return found
        return None

    def write(self, node, name, value):
        fitting = [index for index, t in enumerate(self.types) if isinstance(value, t)]
        if not fitting:
            raise TypeError(f"{name}: expected one of {self.class_names()}, got {value!r}")
        modifying = node.StartModify()
        for index in range(len(self.types)):
            reference = value.GetID() if value is not None and index == fitting[0] else None
            node.SetNodeReferenceID(f"{name}.{index}", reference)
        node.EndModify(modifying)


class _Member:
    def __init__(self, name, hint, owner):
        self.name, self.hint = name, hint
        self.type, self.notes = _split(hint)
        self.default = (
            getattr(owner, name)
            if hasattr(owner, name)
            else next((n.value for n in self.notes if isinstance(n, Default)), self._zero())
        )

    def _zero(self):
        if _is_node(self.type) or isinstance(self.type, _NodeUnion):
            return None
        if issubclass(self.type, enum.Enum):
            return list(self.type)[0]
        ch = self.note(Choice)
        if ch:
            return ch.choices[0]
        return self.type()

    def note(self, cls):
        return next((n for n in self.notes if isinstance(n, cls)), None)

    def read(self, node):
        if isinstance(self.type, _NodeUnion):
            return self.type.read(node, self.name)
        if _is_node(self.type):
            return node.GetNodeReference(self.name)
        s = node.GetParameter(self.name)
        if self.type is bool:
            return s == "True"
        if self.type is FloatRange:
            a, b = s.split(",")
            return FloatRange(float(a), float(b))
        if issubclass(self.type, enum.Enum):
            return self.type[s]
        return self.type(s)

    def isIn(self, node):
        return isinstance(self.type, _NodeUnion) or _is_node(self.type) or self.name in node.GetParameterNames()

    def write(self, node, value):
        if isinstance(self.type, _NodeUnion):
            self.type.write(node, self.name, value)
            return
        if _is_node(self.type):
            if value is not None and not isinstance(value, self.type):
                raise TypeError(f"{self.name}: expected {self.type.__name__}")
            node.SetNodeReferenceID(self.name, value.GetID() if value is not None else None)
            return
        if self.type is float and isinstance(value, int):
            value = float(value)
        if not isinstance(value, self.type) or (self.type is int and isinstance(value, bool)):
            raise TypeError(f"{self.name}: expected {self.type.__name__}, got {value!r}")
        for n in self.notes:
            n.validate(value)
        if issubclass(self.type, enum.Enum):
            text = value.name
        elif self.type is FloatRange:
            text = f"{value.minimum!r},{value.maximum!r}"
        else:
            text = str(value)
        node.SetParameter(self.name, text)


class _Gui:
    """(read, write, signal) for a widget and a member."""

    def __init__(self, widget, m):
        self.w, self.m = widget, m
        lim = m.note(WithinRange)
        lo = lim.minimum if lim else getattr(m.note(Minimum), "minimum", None)
        hi = lim.maximum if lim else getattr(m.note(Maximum), "maximum", None)
        if isinstance(widget, slicer.qMRMLNodeComboBox):
            widget.nodeTypes = m.type.class_names() if isinstance(m.type, _NodeUnion) else [m.type.__name__]
            self.read, self.write, self.sig = widget.currentNode, widget.setCurrentNode, widget.currentNodeChanged
        elif m.type is bool:
            self.read, self.write, self.sig = (lambda: widget.checked), widget.setChecked, widget.toggled
        elif isinstance(widget, qt.QComboBox):
            if issubclass(m.type, enum.Enum):
                self.values = list(m.type)
                label = getattr(m.type, "label", lambda e: e.name)
            else:
                self.values, label = m.note(Choice).choices, str
            widget.clear()
            for v in self.values:
                widget.addItem(label(v))
            self.read, self.sig = (lambda: self.values[widget.currentIndex]), widget.currentIndexChanged
            self.write = lambda v: widget.setCurrentIndex(self.values.index(v))
        elif m.type in (int, float):
            if m.note(Decimals):
                widget.decimals = m.note(Decimals).v[0]
            if m.note(SingleStep):
                widget.singleStep = m.note(SingleStep).v[0]
            if lo is not None:
                widget.minimum = lo
            if hi is not None:
                widget.maximum = hi
            self.read, self.sig = (lambda: m.type(widget.value)), widget.valueChanged
            self.write = lambda v: setattr(widget, "value", v)
        elif m.type is FloatRange:
            b = m.note(RangeBounds)
            widget.setRange(b.minimum, b.maximum)
            self.read, self.sig = (lambda: FloatRange(widget.minimumValue, widget.maximumValue)), widget.valuesChanged
            self.write = lambda v: widget.setValues(v.minimum, v.maximum)
        elif isinstance(widget, ctk.ctkPathLineEdit):
            self.read, self.sig = (lambda: m.type(widget.currentPath)), widget.currentPathChanged
            self.write = lambda v: setattr(widget, "currentPath", str(v))
        elif isinstance(widget, ctk.ctkDirectoryButton):
            self.read, self.sig = (lambda: m.type(widget.directory)), widget.directoryChanged
            self.write = lambda v: setattr(widget, "directory", str(v))
        elif m.type is str and isinstance(widget, (qt.QLineEdit, qt.QLabel)):
            self.read, self.sig = (lambda: widget.text), getattr(widget, "textChanged", None)
            self.write = lambda v: widget.setText(v) if widget.text != v else None
        elif m.type is str and isinstance(widget, qt.QTextEdit):
            self.read, self.write, self.sig = widget.toPlainText, widget.setPlainText, widget.textChanged
        else:
            raise RuntimeError(f"cannot connect {m.hint} to {type(widget).__name__}")
        self.slot = None

    def connect(self, f):
        if self.sig is not None:
            self.slot = lambda *a: f()
            self.sig.connect(self.slot)

    def disconnect(self):
        if self.slot is not None:
            self.sig.disconnect(self.slot)


def isParameterNodeWrapper(x):
    return getattr(x, "_is_parameter_node_wrapper", False)


def parameterNodeWrapper(cls=None):
    if cls is None:
        return parameterNodeWrapper
    members = {n: _Member(n, h, cls) for n, h in typing.get_type_hints(cls, include_extras=True).items()}

    def init(self, parameterNode, prefix=None):
        self.parameterNode = parameterNode
        self._guis, self._next, self._busy = {}, 0, False
        for m in members.values():
            if not m.isIn(parameterNode):
                m.write(parameterNode, m.default)

    def connect_map(self, mapping):
        gui = {n: _Gui(w, members[n]) for n, w in mapping.items()}

        def to_gui(*_a):
            if self._busy:
                return
            self._busy = True
            try:
                for n, g in gui.items():
                    g.write(members[n].read(self.parameterNode))
            finally:
                self._busy = False

        to_gui()
        for n, g in gui.items():
            g.connect(lambda n=n, g=g: None if self._busy else members[n].write(self.parameterNode, g.read()))
        tag, self._next = self._next, self._next + 1
        self._guis[tag] = (gui, self.parameterNode.AddObserver(vtk.vtkCommand.ModifiedEvent, to_gui))
        return tag

    def connect_gui(self, gui):
        ws = gui.findChildren(qt.QWidget) if isinstance(gui, qt.QWidget) else list(vars(gui).values())
        return connect_map(
            self,
            {
                w.property("SlicerParameterName"): w
                for w in ws
                if isinstance(w, qt.QWidget) and w.property("SlicerParameterName")
            },
        )

    def disconnect_gui(self, tag):
        if tag in self._guis:
            gui, obs = self._guis.pop(tag)
            for g in gui.values():
                g.disconnect()
            self.parameterNode.RemoveObserver(obs)

    ns = {
        "__init__": init,
        "allParameters": members,
        "_is_parameter_node_wrapper": True,
        "connectGui": connect_gui,
        "connectParametersToGui": connect_map,
        "disconnectGui": disconnect_gui,
        "getValue": lambda s, n: members[n].read(s.parameterNode),
        "setValue": lambda s, n, v: members[n].write(s.parameterNode, v),
        "default": lambda s, n: Default(members[n].default),
        "dataType": staticmethod(lambda n: members[n].hint),
        "StartModify": lambda s: s.parameterNode.StartModify(),
        "EndModify": lambda s, w: s.parameterNode.EndModify(w),
        "AddObserver": lambda s, e, c, p=0.0: s.parameterNode.AddObserver(e, c, p),
        "RemoveObserver": lambda s, t: s.parameterNode.RemoveObserver(t),
        "Modified": lambda s: s.parameterNode.Modified(),
    }
    for k, v in ns.items():
        setattr(cls, k, v)
    for n, m in members.items():
        setattr(cls, n, property(lambda s, m=m: m.read(s.parameterNode), lambda s, v, m=m: m.write(s.parameterNode, v)))
    return cls
