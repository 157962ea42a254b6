"""What a method hands back to the pipeline."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import List, Optional

from ..contracts import Field, Stage


@dataclass
class Outcome:
    """The stages, and at the end the field and its inverse on grids of the working grid's directions."""

    stages: List[Stage] = field(default_factory=list)
    displacement: Optional[Field] = None
    inverse: Optional[Field] = None
    notes: List[str] = field(default_factory=list)
