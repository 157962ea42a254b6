"""Marks what reads torch files, which is refused with an old PyTorch."""

import pytest
from SlicerDeepRegLib.models.torch_files import can_read

torch_files_are_read = pytest.mark.skipif(not can_read(), reason="torch files are refused with PyTorch before 2.6")
