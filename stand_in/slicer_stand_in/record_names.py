"""Take the part of a list of Slicer's Python names that the stand-in offers: ``python record_names.py FULL.json``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

QT = """
Qt QObject QWidget QLabel QPushButton QToolButton QCheckBox QRadioButton QComboBox QSpinBox QDoubleSpinBox
QSlider QLineEdit QPlainTextEdit QTextEdit QTextBrowser QProgressBar QTableWidget QTableWidgetItem QHeaderView
QTreeWidget QTreeWidgetItem QListWidget QListWidgetItem QAbstractItemView QGroupBox QFrame QTabWidget
QStackedWidget QScrollArea QSplitter QFormLayout QVBoxLayout QHBoxLayout QGridLayout QSizePolicy QSpacerItem
QTimer QPixmap QImage QPainter QPen QBrush QColor QFont QFontMetrics QIcon QSize QPoint QRect QPalette QCursor
QMessageBox QInputDialog QFileDialog QDialog QAction QMenu QKeySequence QShortcut QSettings QSignalBlocker
QApplication QStyle QButtonGroup QUrl QDesktopServices QTextCursor QToolTip QEvent QMainWindow QStatusBar
""".split()
CTK = """ctkCollapsibleButton ctkCollapsibleGroupBox ctkSliderWidget ctkComboBox ctkDoubleSpinBox ctkExpandableWidget
ctkMenuButton ctkPathLineEdit""".split()
SLICER = """qMRMLNodeComboBox qMRMLWidget qMRMLSliderWidget qMRMLCollapsibleButton qSlicerScriptedLoadableModule
qSlicerScriptedLoadableModuleWidget""".split()
INSTANCES = {
    "slicer.app": "app",
    "slicer.app.applicationLogic()": "applicationLogic",
    "slicer.app.layoutManager()": "layoutManager",
    "slicer.app.moduleManager()": "moduleManager",
    'layoutManager().sliceWidget("Red")': "sliceWidget",
    "sliceWidget.sliceLogic()": "sliceLogic",
    "sliceWidget.sliceView()": "sliceView",
    "sliceWidget.sliceController()": "sliceController",
    "slicer.util.mainWindow()": "mainWindow",
    "slicer.modules": "modules",
}
MODULES = ("slicer.util.", "slicer.ScriptedLoadableModule.", "slicer.i18n.", "SampleData.")


def wanted_classes(full: dict) -> dict:
    chosen = [f"qt.{name}" for name in QT] + [f"ctk.{name}" for name in CTK] + [f"slicer.{name}" for name in SLICER]
    return {name: full["classes"][name] for name in chosen if name in full["classes"]}


def without_shared_names(classes: dict) -> dict:
    """The same classes, each with only the names that neither its base nor the class in ``takes`` has already."""
    names = {name: set(entry["names"].split()) for name, entry in classes.items()}
    short = {}
    for name, entry in classes.items():
        smaller = [other for other in classes if names[other] < names[name]]
        takes = max(smaller, key=lambda other: (len(names[other]), other), default=None)
        packed = {"names": " ".join(sorted(names[name] - (names[takes] if takes else set())))}
        if takes:
            packed["takes"] = takes
        if entry.get("has_all_names_of"):
            packed["base"] = entry["has_all_names_of"]
        for key in ("properties", "signals"):
            if key in entry:
                packed[key] = entry[key]
        short[name] = packed
    return short


def take(full: dict) -> dict:
    return {
        "classes": without_shared_names(wanted_classes(full)),
        "instances": {short: full["instances"][long]["names"] for long, short in INSTANCES.items()},
        "functions": {name: what for name, what in full["functions"].items() if name.startswith(MODULES)},
        "parameterNodeWrapper": " ".join(full["parameterNodeWrapper_names"]),
    }


def write(taken: dict, path: Path) -> None:
    """One entry a line, so that a change of the list can be read as a difference."""
    parts = []
    for section, entries in taken.items():
        if isinstance(entries, dict):
            lines = [f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in sorted(entries.items())]
            parts.append(f"{json.dumps(section)}: {{\n" + ",\n".join(lines) + "\n}")
        else:
            parts.append(f"{json.dumps(section)}: {json.dumps(entries)}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    source = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    write(take(source), Path(__file__).with_name("slicer_names.json"))
