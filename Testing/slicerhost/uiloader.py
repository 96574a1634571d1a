"""``qt.QUiLoader`` for Slicer's .ui files."""

import xml.etree.ElementTree as ET

from .pythonqt import _connect as connect
from .qtbase import QtCore, QtUiTools, QtWidgets, custom_widgets, problem, stub_factory, ui_loading


class QUiLoader(QtUiTools.QUiLoader):
    """Loads Slicer .ui files: custom classes, custom C++ signal/slot connections."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._objects = []

    def createWidget(self, className, parent=None, name=""):
        cls = custom_widgets.get(className)
        if (
            cls is None
            and (className.startswith(("q", "ctk")) or not hasattr(QtWidgets, className))
            and stub_factory[0]
        ):
            cls = stub_factory[0](className)
            if cls is not None:
                custom_widgets[className] = cls
        if cls is not None:
            w = cls(parent)
            w.setObjectName(name)
        else:
            w = super().createWidget(className, parent, name)
        self._objects.append(w)
        return w

    def load(self, device, parent=None):
        root = (
            ET.fromstring(bytes(device.readAll().data())) if hasattr(device, "readAll") else ET.parse(device).getroot()
        )
        conns = []
        block = root.find("connections")
        if block is not None:
            for c in list(block):
                conns.append([c.findtext(k) for k in ("sender", "signal", "receiver", "slot")])
            root.remove(block)
        # drop classes known to us from <customwidgets> so that createWidget() gets their own name
        cw = root.find("customwidgets")
        if cw is not None:
            root.remove(cw)
        # enum and flag values of custom classes, which the form builder cannot map: set them afterwards
        later = []
        for w in root.iter("widget"):
            if w.get("class") in custom_widgets or w.get("class", "").startswith(("qMRML", "qSlicer", "ctk")):
                for p in list(w.findall("property")):
                    v = p.find("set") if p.find("set") is not None else p.find("enum")
                    if v is not None and v.text and not v.text.startswith(("Qt::", "Q")):
                        later.append((w.get("name"), p.get("name"), v.text))
                        w.remove(p)
        buf = QtCore.QBuffer()
        buf.setData(QtCore.QByteArray(ET.tostring(root)))
        buf.open(QtCore.QIODevice.ReadOnly)
        ui_loading[0] = True
        try:
            widget = super().load(buf, parent)
        finally:
            ui_loading[0] = False
        if widget is None:
            problem("ui", "could not load ui: " + self.errorString())
            return None
        byname = {}
        for o in [widget] + widget.findChildren(QtCore.QObject):
            byname.setdefault(o.objectName, o)
        for name, pname, text in later:
            o = byname.get(name)
            values = [getattr(type(o), t.split("::")[-1], None) for t in text.split("|")]
            if None in values:
                problem("ui", f"{name}.{pname}: unknown value {text}")
                continue
            total = 0
            for v in values:
                total |= int(v)
            setattr(o, pname, total)
        for sender, signal, receiver, slot in conns:
            s, r = byname.get(sender), byname.get(receiver)
            if s is None or r is None:
                problem("ui", f"connection {sender}.{signal} -> {receiver}.{slot}: object not found")
                continue
            connect(s, signal, r, slot)
        widget.__dict__["_pq_loader"] = self
        return widget
