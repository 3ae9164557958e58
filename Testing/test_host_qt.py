"""The host's Qt behaves as PythonQt does, also where that means refusing."""

import sys

import pytest

import host as host_package

if not host_package.available():
    pytest.skip("slicer-core and PySide6 are not installed", allow_module_level=True)

pytest_plugins = ["host_fixtures"]
pytestmark = pytest.mark.usefixtures("hidden_errors")


def test_properties_are_attributes(host):
    import qt

    button = qt.QPushButton("Go")
    button.enabled = False
    button.name = "go"
    assert (button.text, button.enabled, button.objectName, button.className()) == ("Go", False, "go", "QPushButton")
    with pytest.raises(AttributeError, match="no new attributes"):
        button.colour = 1
    with pytest.raises(AttributeError, match="does not accept"):
        button.text = 3
    with pytest.raises(AttributeError, match="overwritten"):
        button.click = None


def test_a_subclass_takes_attributes_and_overrides_virtuals(host):
    import qt

    class Wide(qt.QWidget):
        def __init__(self):
            super().__init__()
            self.extra = 1

        def sizeHint(self):
            return qt.QSize(333, 44)

    outer = qt.QWidget()
    layout = qt.QVBoxLayout(outer)
    wide = Wide()
    layout.addWidget(wide)
    assert wide.extra == 1 and outer.sizeHint.width() > 333


def test_signals_connect_by_signature(host):
    import qt

    button, heard = qt.QPushButton(), []
    with_state, without = heard.append, lambda: heard.append("none")
    button.checkable = True
    assert button.connect("toggled(bool)", lambda state: heard.append(state)) and button.connect("clicked()", without)
    host.click(button)
    assert heard == [True, "none"]
    assert button.disconnect("clicked()", without) and not button.disconnect("clicked()", with_state)
    for unknown in ("pressedTwice()", "clicked(int)"):
        with pytest.raises(ValueError, match="does not exist"):
            button.connect(unknown, without)


def test_timers_and_processes_report(host):
    import qt

    heard = []
    qt.QTimer.singleShot(1, lambda: heard.append("timer"))
    process = qt.QProcess()
    process.connect("finished(int,QProcess::ExitStatus)", lambda code, status: heard.append(code))
    process.start(sys.executable, ["-c", "print('out'); raise SystemExit(3)"])
    host.wait(lambda: len(heard) == 2)
    assert heard == ["timer", 3] and process.readAllStandardOutput().data().strip() == b"out"


def test_settings_stay_in_the_hosts_folder(host):
    import qt

    assert qt.QSettings().fileName().startswith(str(host.folder))
