# make demo   register the demo pair and write demo/report.html and demo/scene.mrb
#             (make demo FIXED=a.nii.gz MOVING=b.nii.gz registers yours)
# make test   the tests; make test-all adds the slow ones and the coverage of the library
# Everything is installed into .venv by the first of them.

PYTHON ?= python3
# The build of torch to install, any pip argument. For NVIDIA cards see README.md.
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
# Percent of the library's lines and branches that make test-all must reach.
COVERAGE_FLOOR ?= 80
FIXED ?=
MOVING ?=
MAPS ?=
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo test test-all lint types imports pictures panel review stored-pictures teaching models synthetic label-maps benchmark audit matrix clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml stand_in/pyproject.toml tools/check_system.py
	@command -v $(PYTHON) >/dev/null 2>&1 || { echo "make: $(PYTHON) was not found. On Debian or Ubuntu: apt-get install python3 python3-venv"; exit 2; }
	@$(PYTHON) tools/check_system.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --editable ".[demo,dev]" --editable stand_in
	@touch $@

demo: setup
	@$(BIN)/slicerdeepreg demo --output demo $(if $(FIXED),--fixed "$(FIXED)") $(if $(MOVING),--moving "$(MOVING)")

# Two processes with one thread each: most tests are too small for two threads to help, and twice as fast so.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope

test: setup lint
	$(PYTEST) -m "not slow"

# With the lines of the library that the tests run; what only a process of its own runs is not counted.
test-all: setup lint
	$(PYTEST) --cov --cov-report=term --cov-fail-under=$(COVERAGE_FLOOR)

lint: setup types imports
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The types of the public interfaces; [tool.mypy] in pyproject.toml says how strictly each room is checked.
types: setup
	$(BIN)/mypy

# Which room may import which, and which third-party packages: the contracts of .importlinter.
imports: setup
	$(BIN)/lint-imports

# The pictures of the README and the icon.
pictures: demo
	$(BIN)/python tools/readme_picture.py demo/overview.png docs/overview.png
	$(BIN)/python tools/small_picture.py docs/overview.png
	$(BIN)/python tools/draw_icon.py SlicerDeepReg/Resources/Icons/SlicerDeepReg.png

# Pictures of the panel, drawn by the real panel on the stand-in for Slicer's desktop.
panel: setup
	$(BIN)/python tools/panel_pictures.py docs/panel

# Pictures of the layouts, for docs/review.md.
review: setup
	$(BIN)/python tools/review_pictures.py docs
	$(BIN)/python tools/small_picture.py docs/review-*.png

# The pictures that the tests compare with: look at them before you commit them.
stored-pictures: setup
	DEEPREG_STORE_PICTURES=1 $(BIN)/python -m pytest SlicerDeepReg/Testing/mrml/test_pictures.py

# docs/teaching/README.md and its pictures, from the lessons and what their scripts measure.
teaching: setup
	$(BIN)/python tools/teaching_pages.py docs/teaching
	$(BIN)/python tools/small_picture.py docs/teaching/*.png

# docs/models.md and its diagrams, from the cards and the networks.
models: setup
	$(BIN)/python tools/models_page.py

# docs/synthetic.md and its picture, from the generator of synthetic pairs.
synthetic: setup
	$(BIN)/python tools/synthetic_page.py

# docs/label-maps.md and its picture: make label-maps MAPS=folder (of label maps of whole brains; minutes for many people).
label-maps: setup
	$(BIN)/python tools/label_maps_page.py "$(MAPS)" --cache build/label-maps --only synthseg

benchmark: setup
	$(BIN)/python -m pip install --quiet --editable ".[peers]"
	$(BIN)/python benchmarks/run.py
	$(BIN)/python benchmarks/around.py --write
	$(BIN)/python benchmarks/known_truth.py --write
	$(BIN)/python benchmarks/networks.py
	$(BIN)/python benchmarks/panel.py
	$(BIN)/python benchmarks/review.py
	$(BIN)/python benchmarks/training.py --parts generator steps
	$(BIN)/python benchmarks/joint.py
	$(BIN)/python benchmarks/structures.py
	$(BIN)/python benchmarks/scaling.py
	$(BIN)/python benchmarks/memory.py

# Known advisories about what is installed; needs the network.
audit: setup
	$(BIN)/python -m pip install --quiet pip-audit
	$(BIN)/python tools/audit.py

# The quick tests in every Python from 3.9 to 3.13 that is found here, with old and new packages; downloads gigabytes.
matrix:
	@$(PYTHON) tools/matrix.py

clean:
	rm -rf $(VENV) demo build dist SlicerDeepReg/*.egg-info stand_in/*.egg-info stand_in/build
