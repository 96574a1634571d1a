"""Python stand-ins for CTK's sliders, spin boxes and range widgets."""

from .qtbase import QtCore, QtWidgets, props

Signal = QtCore.Signal
W = QtWidgets


def _hbox(parent):
    lay = W.QHBoxLayout(parent)
    lay.setContentsMargins(0, 0, 0, 0)
    return lay


def _rounded(v, decimals):
    return round(float(v), int(decimals))


class ctkDoubleSlider(W.QWidget):
    _pq_shim = True
    valueChanged = Signal(float)
    sliderMoved = Signal(float)
    sliderPressed = Signal()
    sliderReleased = Signal()
    rangeChanged = Signal(float, float)
    locals().update(
        props(
            minimum=(float, 0.0, "_range"),
            maximum=(float, 99.0, "_range"),
            value=(float, 0.0, "_value"),
            singleStep=(float, 1.0),
            pageStep=(float, 10.0),
            tickInterval=(float, 0.0),
            tracking=(bool, True),
            invertedAppearance=(bool, False),
            invertedControls=(bool, False),
            handleToolTip=(str, ""),
            orientation=(int, int(QtCore.Qt.Horizontal)),
        )
    )

    def __init__(self, *args):
        W.QWidget.__init__(self, next((a for a in args if isinstance(a, W.QWidget)), None))
        self._slider = W.QSlider(QtCore.Qt.Horizontal, self)
        self._slider.setRange(0, 1000)
        _hbox(self).addWidget(self._slider)
        self._busy = False
        self._slider.valueChanged.connect(self._moved)

    def slider(self):
        return self._slider

    def _moved(self, i):
        if not self._busy:
            self.setValue(self.minimum + (self.maximum - self.minimum) * i / 1000.0)

    def setRange(self, lo, hi):
        self.minimum, self.maximum = lo, hi

    def _range(self, *_):
        self.rangeChanged.emit(self.minimum, self.maximum)
        self.value = self.value

    def _value(self, v, old):
        v = min(max(float(v), self.minimum), self.maximum)
        self.__dict__["_p_value"] = v
        span = self.maximum - self.minimum
        self._busy = True
        self._slider.setValue(int(round(1000 * (v - self.minimum) / span)) if 0 < span < float("inf") else 0)
        self._busy = False
        if v != old:
            self.valueChanged.emit(v)


class ctkDoubleSpinBox(W.QWidget):
    _pq_shim = True
    valueChanged = Signal(float)
    editingFinished = Signal()
    decimalsChanged = Signal(int)
    locals().update(
        props(
            minimum=(float, 0.0, "_limits"),
            maximum=(float, 99.99, "_limits"),
            value=(float, 0.0, "_set"),
            singleStep=(float, 1.0, "_step"),
            decimals=(int, 2, "_dec"),
            prefix=(str, "", "_fix"),
            suffix=(str, "", "_fix"),
            readOnly=(bool, False, "_ro"),
            frame=(bool, True),
            alignment=(int, int(QtCore.Qt.AlignLeft)),
            decimalsOption=(int, 0),
            setMode=(int, 0),
            invertedControls=(bool, False),
            sizeHintPolicy=(int, 0),
        )
    )

    def __init__(self, *args):
        W.QWidget.__init__(self, next((a for a in args if isinstance(a, W.QWidget)), None))
        self._spin = W.QDoubleSpinBox(self)
        self._spin.setRange(0.0, 99.99)
        _hbox(self).addWidget(self._spin)
        self.setFocusProxy(self._spin)
        self._busy = False
        self._spin.valueChanged.connect(lambda v: None if self._busy else self.setValue(v))
        self._spin.editingFinished.connect(self.editingFinished.emit)

    def spinBox(self):
        return self._spin

    def setRange(self, lo, hi):
        self.minimum, self.maximum = lo, hi

    def _limits(self, *_):
        big = 1.7e308
        self._busy = True
        self._spin.setRange(max(self.minimum, -big), min(self.maximum, big))
        self._busy = False
        self.value = self.value

    def _step(self, v, _old):
        self._spin.setSingleStep(v)

    def _dec(self, v, old):
        self._spin.setDecimals(v)
        if v != old:
            self.decimalsChanged.emit(v)

    def _fix(self, *_):
        self._spin.setPrefix(self.prefix)
        self._spin.setSuffix(self.suffix)

    def _ro(self, v, _old):
        self._spin.setReadOnly(v)

    def _set(self, v, old):
        v = _rounded(min(max(float(v), self.minimum), self.maximum), self.decimals)
        self.__dict__["_p_value"] = v
        self._busy = True
        self._spin.setValue(v)
        self._busy = False
        if v != old:
            self.valueChanged.emit(v)


class ctkSliderWidget(W.QWidget):
    _pq_shim = True
    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    decimalsChanged = Signal(int)
    locals().update(
        props(
            decimals=(int, 2, "_dec"),
            singleStep=(float, 1.0, "_step"),
            pageStep=(float, 10.0),
            minimum=(float, 0.0, "_range"),
            maximum=(float, 99.0, "_range"),
            value=(float, 0.0, "_value"),
            prefix=(str, "", "_fix"),
            suffix=(str, "", "_fix"),
            tickInterval=(float, 0.0),
            tickPosition=(int, 0),
            synchronizeSiblings=(int, 0),
            spinBoxAlignment=(int, 2),
            tracking=(bool, True),
            spinBoxVisible=(bool, True, "_spinvis"),
            popupSlider=(bool, False),
            invertedAppearance=(bool, False),
            invertedControls=(bool, False),
        )
    )

    def __init__(self, *args):
        W.QWidget.__init__(self, next((a for a in args if isinstance(a, W.QWidget)), None))
        lay = _hbox(self)
        self._slider = ctkDoubleSlider(self)
        self._spin = W.QDoubleSpinBox(self)
        self._spin.setRange(0.0, 99.0)
        lay.addWidget(self._slider, 1)
        lay.addWidget(self._spin)
        self._busy = False
        self._slider.valueChanged.connect(self._from_child)
        self._spin.valueChanged.connect(self._from_child)

    def slider(self):
        return self._slider

    def spinBox(self):
        return self._spin

    def _from_child(self, v):
        if not self._busy:
            self.setValue(v)

    def setRange(self, lo, hi):
        self.minimum, self.maximum = lo, hi

    def reset(self):
        self.value = 0.0

    def _range(self, *_):
        self._busy = True
        self._slider.setRange(self.minimum, self.maximum)
        self._spin.setRange(self.minimum, self.maximum)
        self._busy = False
        self.value = self.value

    def _dec(self, v, old):
        self._spin.setDecimals(v)
        if v != old:
            self.decimalsChanged.emit(v)

    def _step(self, v, _old):
        self._spin.setSingleStep(v)

    def _fix(self, *_):
        self._spin.setPrefix(self.prefix)
        self._spin.setSuffix(self.suffix)

    def _spinvis(self, v, _old):
        self._spin.setVisible(v)

    def _value(self, v, old):
        v = _rounded(min(max(float(v), self.minimum), self.maximum), self.decimals)
        self.__dict__["_p_value"] = v
        self._busy = True
        self._slider.setValue(v)
        self._spin.setValue(v)
        self._busy = False
        if v != old:
            self.valueChanged.emit(v)


class ctkRangeWidget(W.QWidget):
    _pq_shim = True
    minimumValueChanged = Signal(float)
    minimumValueIsChanging = Signal(float)
    maximumValueChanged = Signal(float)
    maximumValueIsChanging = Signal(float)
    valuesChanged = Signal(float, float)
    rangeChanged = Signal(float, float)
    locals().update(
        props(
            decimals=(int, 2, "_refresh"),
            singleStep=(float, 1.0, "_refresh"),
            minimum=(float, 0.0, "_range"),
            maximum=(float, 99.0, "_range"),
            prefix=(str, "", "_refresh"),
            suffix=(str, "", "_refresh"),
            tickInterval=(float, 0.0),
            autoSpinBoxWidth=(bool, True),
            spinBoxAlignment=(int, 0x84),
            spinBoxTextAlignment=(int, 1),
            tracking=(bool, True),
            symmetricMoves=(bool, False),
            minimumValue=(float, 0.0, "_min"),
            maximumValue=(float, 99.0, "_max"),
        )
    )

    def __init__(self, *args):
        W.QWidget.__init__(self, next((a for a in args if isinstance(a, W.QWidget)), None))
        lay = _hbox(self)
        self._lo, self._hi = W.QDoubleSpinBox(self), W.QDoubleSpinBox(self)
        lay.addWidget(self._lo)
        self._bar = W.QProgressBar(self)
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(8)
        lay.addWidget(self._bar, 1)
        lay.addWidget(self._hi)
        self._busy = False
        self._refresh()
        self._lo.valueChanged.connect(lambda v: None if self._busy else self.setMinimumValue(v))
        self._hi.valueChanged.connect(lambda v: None if self._busy else self.setMaximumValue(v))

    def setRange(self, lo, hi):
        self.__dict__["_p_minimum"], self.__dict__["_p_maximum"] = float(lo), float(hi)
        self._range()

    def setValues(self, lo, hi):
        lo, hi = sorted((float(lo), float(hi)))
        lo, hi = max(lo, self.minimum), min(hi, self.maximum)
        old = (self.minimumValue, self.maximumValue)
        self.__dict__["_p_minimumValue"], self.__dict__["_p_maximumValue"] = lo, hi
        self._refresh()
        if lo != old[0]:
            self.minimumValueChanged.emit(lo)
        if hi != old[1]:
            self.maximumValueChanged.emit(hi)
        if (lo, hi) != old:
            self.valuesChanged.emit(lo, hi)

    def _min(self, v, old):
        self.__dict__["_p_minimumValue"] = old
        self.setValues(v, max(v, self.maximumValue))

    def _max(self, v, old):
        self.__dict__["_p_maximumValue"] = old
        self.setValues(min(v, self.minimumValue), v)

    def _range(self, *_):
        self.rangeChanged.emit(self.minimum, self.maximum)
        self.setValues(
            min(max(self.minimumValue, self.minimum), self.maximum),
            min(max(self.maximumValue, self.minimum), self.maximum),
        )
        self._refresh()

    def _refresh(self, *_):
        self._busy = True
        for s, v in ((self._lo, self.minimumValue), (self._hi, self.maximumValue)):
            s.setDecimals(self.decimals)
            s.setSingleStep(self.singleStep)
            s.setRange(self.minimum, self.maximum)
            s.setPrefix(self.prefix)
            s.setSuffix(self.suffix)
            s.setValue(v)
        span = (self.maximum - self.minimum) or 1.0
        self._bar.setRange(0, 1000)
        self._bar.setValue(int(1000 * (self.maximumValue - self.minimumValue) / span) if span < float("inf") else 0)
        self._busy = False


class ctkDoubleRangeSlider(W.QWidget):
    _pq_shim = True
    minimumValueChanged = Signal(float)
    maximumValueChanged = Signal(float)
    valuesChanged = Signal(float, float)
    rangeChanged = Signal(float, float)
    locals().update(
        props(
            minimum=(float, 0.0, "_range"),
            maximum=(float, 99.0, "_range"),
            singleStep=(float, 1.0),
            tickInterval=(float, 0.0),
            tracking=(bool, True),
            symmetricMoves=(bool, False),
            minimumValue=(float, 0.0, "_min"),
            maximumValue=(float, 99.0, "_max"),
        )
    )
    locals().update({k: ctkRangeWidget.__dict__[k] for k in ("setRange", "setValues", "_min", "_max", "_range")})

    def __init__(self, *args):
        W.QWidget.__init__(self, next((a for a in args if isinstance(a, W.QWidget)), None))
        self._bar = W.QProgressBar(self)
        self._bar.setTextVisible(False)
        _hbox(self).addWidget(self._bar)

    def _refresh(self, *_):
        span = (self.maximum - self.minimum) or 1.0
        self._bar.setRange(0, 1000)
        self._bar.setValue(int(1000 * (self.maximumValue - self.minimumValue) / span) if span < float("inf") else 0)
