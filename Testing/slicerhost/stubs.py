"""Strict stand-ins made from C++ headers, for widget classes that have no shim of their own."""

import re

from . import headers
from .qtbase import QtCore, QtWidgets, custom_widgets, problem, props

W = QtWidgets
PROPERTY_TYPES = {
    "bool": (bool, False),
    "int": (int, 0),
    "double": (float, 0.0),
    "QString": (str, ""),
    "QStringList": ("QStringList", []),
}


class StubFactory:
    """Makes classes with exactly the scriptable names of a C++ class (needs Slicer's and CTK's headers)."""

    def __init__(self, index):
        self.index = index

    def class_by_name(self, name):
        """The shim, or a stub, or None where ``name`` is no Slicer or CTK class."""
        if name in custom_widgets:
            return custom_widgets[name]
        if name in self.index:
            api, base = headers.full_api(self.index, name)
            problem("stub", f"widget class {name}: stub made from its header")
        elif name.startswith(("q", "ctk")):
            api, base = headers.empty_api(), "QWidget"
            problem("stub", f"unknown widget class {name}: empty placeholder")
        else:
            return None
        qt_base = getattr(W, base, None) or getattr(QtCore, base, None) or W.QWidget
        cls = type(name, (qt_base,), self._namespace(name, api, qt_base))
        custom_widgets[name] = cls
        return cls

    def _namespace(self, name, api, qt_base):
        ns = {"_pq_shim": True}
        ns.update(props(**{p: PROPERTY_TYPES.get(t[0], ("QVariant", None)) for p, t in api["properties"].items()}))
        for signal, overloads in api["signals"].items():
            count = max(len([a for a in re.split(r",(?![^<]*>)", o) if a.strip()]) for o in overloads)
            ns[signal] = QtCore.Signal(*([object] * count))
        for method in sorted((api["slots"] | api["invokables"]) - set(ns)):
            if method != "setMRMLScene" and not hasattr(qt_base, method):
                ns[method] = self._method(name, method, api["returns"].get(method, "").rstrip("* "))
        ns.update({k: v for k, v in api["enums"].items() if k not in ns})
        if "setMRMLScene" in api["slots"] | api["public"] or not api["slots"]:
            ns["setMRMLScene"] = lambda self, scene: self.__dict__.__setitem__("_scene", scene)
            ns["mrmlScene"] = lambda self: self.__dict__.get("_scene")

        def init(self, *args):
            qt_base.__init__(self, next((a for a in args if isinstance(a, W.QWidget)), None))
            if isinstance(self, W.QWidget):
                self.setMinimumHeight(28)
                self.setToolTip("placeholder for " + name)
                self.setStyleSheet(f"{name} {{ border: 1px dashed gray; }}")

        ns["__init__"] = init
        return ns

    def _method(self, name, method, returned):
        def call(self, *_args):
            part = factory._part_class(returned)
            if part is None:
                problem("stub", f"{name}.{method}() called")
                return None
            parts = self.__dict__.setdefault("_parts", {})  # an accessor of a part: the same part each time
            if method not in parts:
                parts[method] = part(self) if isinstance(self, W.QWidget) else part()
            return parts[method]

        factory = self
        return call

    def _part_class(self, name):
        if name in W.__dict__:
            return getattr(W, name)
        return custom_widgets.get(name) or (self.class_by_name(name) if name in self.index else None)
