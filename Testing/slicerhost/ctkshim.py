"""Python stand-ins for the CTK widgets that .ui files and scripted modules use: the ``ctk`` module.

Names, properties, signals and defaults follow CTK's headers; looks are close, not equal.
``conformance.py`` checks the public names against the headers of a CTK source tree.
"""

import contextlib
import os
import types

from . import ctk_ranges
from .ctk_ranges import _hbox
from .qtbase import QtCore, QtGui, QtWidgets, props, take_answer

Signal = QtCore.Signal
W = QtWidgets


class ctkCollapsibleButton(W.QAbstractButton):
    _pq_shim = True
    contentsCollapsed = Signal(bool)
    locals().update(
        props(
            collapsed=(bool, False, "_apply"),
            collapsedHeight=(int, 10, "_apply"),
            flat=(bool, False, "_redraw"),
            contentsFrameShape=(int, int(W.QFrame.NoFrame), "_redraw"),
            contentsFrameShadow=(int, int(W.QFrame.Plain), "_redraw"),
            contentsLineWidth=(int, 1, "_redraw"),
            contentsMidLineWidth=(int, 0, "_redraw"),
            buttonTextAlignment=(int, int(QtCore.Qt.AlignLeft | QtCore.Qt.AlignVCenter), "_redraw"),
            indicatorAlignment=(int, int(QtCore.Qt.AlignLeft | QtCore.Qt.AlignVCenter), "_redraw"),
        )
    )

    def __init__(self, *args):
        text = next((a for a in args if isinstance(a, str)), "")
        parent = next((a for a in args if isinstance(a, W.QWidget)), None)
        W.QAbstractButton.__init__(self, parent)
        self._hidden = []
        self.setCheckable(True)
        self.setChecked(True)
        self.setText(text)
        self.setSizePolicy(W.QSizePolicy.Minimum, W.QSizePolicy.Preferred)
        self.setContentsMargins(4, self._header(), 4, 4)
        self.toggled.connect(self._toggled)

    def _header(self):
        return self.fontMetrics().height() + 10

    def _toggled(self, on):
        if self.collapsed == on:
            self.collapsed = not on

    def _redraw(self, *_):
        self.update()

    def _apply(self, value=None, old=None):
        collapsed = self.collapsed
        if self.isChecked() == collapsed:
            self.blockSignals(True)
            self.setChecked(not collapsed)
            self.blockSignals(False)
        if collapsed:
            for c in self.children():
                if isinstance(c, W.QWidget) and not c.isHidden():
                    c.setVisible(False)
                    self._hidden.append(c)
            self.setMaximumHeight(self._header() + 2)
            self.setMinimumHeight(self._header() + 2)
        else:
            for c in self._hidden:
                with contextlib.suppress(RuntimeError):
                    c.setVisible(True)
            self._hidden.clear()
            self.setMinimumHeight(0)
            self.setMaximumHeight(16777215)
        self.updateGeometry()
        self.update()
        if isinstance(old, bool) and old != value:
            self.contentsCollapsed.emit(collapsed)

    def event(self, e):
        if e.type() in (QtCore.QEvent.LayoutRequest, QtCore.QEvent.Show) and self.collapsed:
            self._apply()
        return W.QAbstractButton.event(self, e)

    def hitButton(self, pos):
        return pos.y() < self._header()

    def minimumSizeHint(self):
        base = self.layout().totalMinimumSize() if self.layout() and not self.collapsed else QtCore.QSize(0, 0)
        return QtCore.QSize(
            max(base.width(), self.fontMetrics().horizontalAdvance(self.text) + 40),
            max(base.height(), self._header() + 2),
        )

    def sizeHint(self):
        base = self.layout().totalSizeHint() if self.layout() and not self.collapsed else QtCore.QSize(0, 0)
        return base.expandedTo(self.minimumSizeHint())

    def paintEvent(self, _e):
        p = W.QStylePainter(self)
        h = self._header()
        opt = W.QStyleOptionButton()
        opt.initFrom(self)
        opt.rect = QtCore.QRect(0, 0, self.width, h)
        opt.state |= W.QStyle.State_Raised
        if not self.flat:
            p.drawControl(W.QStyle.CE_PushButtonBevel, opt)
        arrow = W.QStyleOption()
        arrow.initFrom(self)
        arrow.rect = QtCore.QRect(6, (h - 12) // 2, 12, 12)
        p.drawPrimitive(W.QStyle.PE_IndicatorArrowRight if self.collapsed else W.QStyle.PE_IndicatorArrowDown, arrow)
        f = p.font()
        f.setBold(True)
        p.setFont(f)
        p.drawText(
            QtCore.QRect(24, 0, self.width - 28, h), int(QtCore.Qt.AlignVCenter | QtCore.Qt.AlignLeft), self.text
        )
        if not self.collapsed and self.contentsFrameShape != int(W.QFrame.NoFrame):
            p.drawRect(0, h, self.width - 1, self.height - h - 1)


class ctkCollapsibleGroupBox(W.QGroupBox):
    _pq_shim = True
    locals().update(props(collapsed=(bool, False, "_apply"), collapsedHeight=(int, 14)))

    def __init__(self, *args):
        W.QGroupBox.__init__(self, *args)
        self.setCheckable(True)
        self.toggled.connect(lambda on: setattr(self, "collapsed", not on) if self.collapsed == on else None)

    def _apply(self, value, old):
        if self.isChecked() == value:
            self.setChecked(not value)
        for c in self.children():
            if isinstance(c, W.QWidget):
                c.setVisible(not value)
        self.setMaximumHeight(self.fontMetrics().height() + 8 if value else 16777215)


class ctkPathLineEdit(W.QWidget):
    _pq_shim = True
    Dirs, Drives, Files, Readable, Writable, Executable, NoDot, NoDotDot, Hidden, System = (
        1,
        4,
        2,
        0x10,
        0x20,
        0x40,
        0x2000,
        0x4000,
        0x100,
        0x200,
    )
    validInputChanged = Signal(bool)
    currentPathChanged = Signal(str)
    locals().update(
        props(
            label=(str, ""),
            filters=(int, 1 | 2),
            currentPath=(str, "", "_path"),
            options=(int, 0),
            settingKey=(str, ""),
            showBrowseButton=(bool, True, "_buttons"),
            showHistoryButton=(bool, True),
            sizeAdjustPolicy=(int, 0),
            minimumContentsLength=(int, 0),
            nameFilters=("QStringList", []),
        )
    )

    def __init__(self, *args):
        W.QWidget.__init__(self, next((a for a in args if isinstance(a, W.QWidget)), None))
        lay = _hbox(self)
        self._combo = W.QComboBox(self)
        self._combo.setEditable(True)
        self._combo.setSizePolicy(W.QSizePolicy.Expanding, W.QSizePolicy.Fixed)
        self._button = W.QToolButton(self)
        self._button.setText("...")
        lay.addWidget(self._combo)
        lay.addWidget(self._button)
        self._combo.editTextChanged.connect(
            lambda t: None if t == self.currentPath else setattr(self, "currentPath", t)
        )
        self._button.clicked.connect(self.browse)

    def comboBox(self):
        return self._combo

    def browse(self):
        p = take_answer("ctkPathLineEdit.browse", self.label, "")
        if p:
            self.currentPath = p

    def addCurrentPathToHistory(self):
        if self.currentPath and self._combo.findText(self.currentPath) < 0:
            self._combo.blockSignals(True)
            self._combo.insertItem(0, self.currentPath)
            self._combo.setEditText(self.currentPath)
            self._combo.blockSignals(False)

    def retrieveHistory(self):
        pass

    def _buttons(self, v, _old):
        self._button.setVisible(v)

    def _path(self, v, old):
        v = str(v)
        self.__dict__["_p_currentPath"] = v
        if self._combo.currentText != v:
            self._combo.setEditText(v)
        if v != old:
            self.currentPathChanged.emit(v)


class ctkDirectoryButton(W.QWidget):
    _pq_shim = True
    directoryChanged = Signal(str)
    directorySelected = Signal(str)
    locals().update(
        props(
            directory=(str, "", "_dir"),
            caption=(str, ""),
            text=(str, "", "_show"),
            icon=(QtGui.QIcon, QtGui.QIcon()),
            elideMode=(int, 3),
            acceptMode=(int, 0),
            options=(int, 1),
        )
    )

    def __init__(self, *args):
        W.QWidget.__init__(self, next((a for a in args if isinstance(a, W.QWidget)), None))
        self._button = W.QPushButton(self)
        _hbox(self).addWidget(self._button)
        self._button.clicked.connect(self.browse)

    def browse(self):
        d = take_answer("ctkDirectoryButton.browse", self.caption, "")
        if d:
            self.directory = d
            self.directorySelected.emit(d)

    def _show(self, *_):
        self._button.setText(self.text or self.directory)

    def _dir(self, v, old):
        if v and v != ".":
            v = self.__dict__["_p_directory"] = os.path.abspath(v)
        self._show()
        if v != old:
            self.directoryChanged.emit(v)


class ctkComboBox(W.QComboBox):
    _pq_shim = True
    NeverScroll, AlwaysScroll, ScrollWithFocus = 0, 1, 2
    locals().update(
        props(
            defaultText=(str, ""),
            defaultIcon=(QtGui.QIcon, QtGui.QIcon()),
            forceDefault=(bool, False),
            elideMode=(int, 3),
            scrollWheelEffect=(int, 1),
        )
    )

    def _get_ud(self):
        v = self.currentData
        return "" if v is None else str(v)

    def setCurrentUserDataAsString(self, text):
        for i in range(self.count):
            if str(self.itemData(i)) == text:
                self.setCurrentIndex(i)
                return
        self.setCurrentIndex(-1)

    currentUserDataAsString = QtCore.Property(str, _get_ud, setCurrentUserDataAsString)


class ctkCheckBox(W.QCheckBox):
    _pq_shim = True
    locals().update(props(indicatorIcon=(QtGui.QIcon, QtGui.QIcon()), indicatorIconSize=(QtCore.QSize, QtCore.QSize())))


class ctkPushButton(W.QPushButton):
    _pq_shim = True
    locals().update(props(buttonTextAlignment=(int, 0x84), iconAlignment=(int, 0x81), elideMode=(int, 3)))


class ctkCheckablePushButton(ctkPushButton):
    _pq_shim = True
    locals().update(
        props(
            indicatorAlignment=(int, 0x81),
            checkState=(int, 0, "_state"),
            checkBoxUserCheckable=(bool, True),
            checkBoxControlsButton=(bool, True),
            checkBoxControlsButtonToggleState=(bool, False),
        )
    )
    checkBoxToggled = Signal(bool)
    checkStateChanged = Signal(object)

    def _state(self, v, old):
        if v != old:
            self.checkBoxToggled.emit(bool(v))


class ctkColorPickerButton(W.QPushButton):
    _pq_shim = True
    colorChanged = Signal(QtGui.QColor)
    colorNameChanged = Signal(str)
    locals().update(
        props(
            color=(QtGui.QColor, QtGui.QColor(0, 0, 0), "_c"),
            displayColorName=(bool, True),
            dialogOptions=(int, 0),
            colorName=(str, ""),
        )
    )

    def _c(self, v, old):
        pm = QtGui.QPixmap(16, 16)
        pm.fill(v)
        self.setIcon(QtGui.QIcon(pm))
        if self.displayColorName:
            self.setText(v.name())
        if v != old:
            self.colorChanged.emit(v)


class ctkFittedTextBrowser(W.QTextBrowser):
    _pq_shim = True
    locals().update(
        props(
            disableMouseScroll=(bool, False),
            collapsed=(bool, True),
            showDetailsText=(str, ""),
            hideDetailsText=(str, ""),
        )
    )

    def setCollapsibleText(self, t):
        self.setHtml(t)

    def setCollapsibleHtml(self, t):
        self.setHtml(t)

    def setCollapsiblePlainText(self, t):
        self.setPlainText(t)

    def collapsibleText(self):
        return self.html


class ctkMessageBox(W.QMessageBox):
    _pq_shim = True
    locals().update(
        props(dontShowAgainVisible=(bool, False), dontShowAgain=(bool, False), dontShowAgainSettingsKey=(str, ""))
    )


class ctkWidgetsUtils:
    @staticmethod
    def grabWidget(widget, rect=None):
        return widget.grab().toImage()


def module():
    """The ``ctk`` module."""
    m = types.ModuleType("ctk", __doc__)
    for source in (vars(ctk_ranges), globals()):
        for name, value in source.items():
            if name.startswith("ctk") and name != "ctk_ranges":
                setattr(m, name, value)
    return m
