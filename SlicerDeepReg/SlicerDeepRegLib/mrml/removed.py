"""A run that was removed from the scene, and can be put back. No Qt."""

from __future__ import annotations

from typing import Any

import slicer
import slicer.util

from .add_run import group_nodes
from .corrections import lines_of, root_of
from .runs import Run, free_name, remove, rename

#: References of nodes that stay to those that go: what is under the transform, and what belongs to the run.
PARENT, OURS = "transform", "DeepReg."


class Removed:
    """Holds what is needed to put a run back: the nodes that are saved with the scene, and its correction lines.

    What only shows it is made anew when it is shown. The nodes keep their memory until this is forgotten.

    Args:
        scene: the MRML scene.
        run: what is to be removed, before anything of it is.
    """

    def __init__(self, scene: slicer.vtkMRMLScene, run: Run) -> None:
        self.scene, self.name = scene, run.name
        self._run = run
        self._owned = [(role, node) for role, node in run.owned() if node.GetSaveWithScene()]
        self._parts = [part for _role, node in self._owned for part in _parts(node)]
        self._own_references = _references(run.node)
        gone = {node.GetID() for _role, node in self._owned} | {run.node.GetID()}
        staying = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
        self._references = [
            (node, role, identifier)
            for node in staying
            if node.GetID() not in gone
            for role, identifier in _references(node)
            if identifier in gone and (role == PARENT or role.startswith(OURS))
        ]
        self._lines = lines_of(scene, run) if root_of(run) == run else []
        self._parts += [part for line in self._lines for part in _parts(line)]

    def remove(self) -> None:
        """Remove the run, also if it is locked."""
        remove(self.scene, self._run, also_permanent=True)

    def put_back(self) -> Run:
        """Put the run back as it was; another name if its own was given away."""
        name = free_name(self.scene, self.name)
        for node in (*self._parts, *(node for _role, node in self._owned), self._run.node, *self._lines):
            if not self.scene.IsNodePresent(node):
                self.scene.AddNode(node)  # under its old identifier
        for node, role, identifier in (*((self._run.node, *one) for one in self._own_references), *self._references):
            taken = role == PARENT and node.GetNodeReferenceID(role)  # the user has put it elsewhere since
            if not taken and self.scene.IsNodePresent(node) and self.scene.GetNodeByID(identifier) is not None:
                node.SetNodeReferenceID(role, identifier)
        group_nodes(self.scene, self._run)
        if name != self.name:
            rename(self.scene, self._run, name)
        return self._run


def _references(node: slicer.vtkMRMLNode) -> list[tuple[str, str]]:
    """Return (role, identifier) of the first node that each role of a node refers to."""
    roles = [node.GetNthNodeReferenceRole(n) for n in range(node.GetNumberOfNodeReferenceRoles())]
    return [(role, node.GetNodeReferenceID(role)) for role in roles if node.GetNodeReferenceID(role)]


def _parts(node: slicer.vtkMRMLNode) -> list[Any]:
    """Return the display and storage nodes of a node."""
    parts = []
    if node.IsA("vtkMRMLDisplayableNode"):
        parts += [node.GetNthDisplayNode(n) for n in range(node.GetNumberOfDisplayNodes())]
    if node.IsA("vtkMRMLStorableNode"):
        parts.append(node.GetStorageNode())
    return [part for part in parts if part is not None and not part.IsA("vtkMRMLColorLegendDisplayNode")]
