"""The parameter node of the panel, made from the parameters that its sections declare."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import get_type_hints

from slicer.parameterNodeWrapper import parameterNodeWrapper

from .section import BaseSection


@lru_cache(maxsize=4)
def parameter_node_class(sections: Sequence[type[BaseSection]]) -> type:
    """Return the wrapper class that holds the parameters of all sections.

    Slicer's wrapper keeps parameters under their own names only in a flat class, so that is what is made here.

    Args:
        sections: a tuple of section classes.

    Raises:
        ValueError: two sections declare the same parameter.
    """
    annotations: dict[str, object] = {}
    defaults: dict[str, object] = {}
    for section in sections:
        declared = section.Parameters
        for name, annotated in get_type_hints(declared, include_extras=True).items():
            if name in annotations:
                raise ValueError(f"The parameter {name} of the section {section.name} is declared by another one too.")
            annotations[name] = annotated
            if name in vars(declared):
                defaults[name] = vars(declared)[name]
    members = {"__annotations__": annotations, "__doc__": "The state of the panel.", **defaults}
    return parameterNodeWrapper(type("SlicerDeepRegParameterNode", (), members))
