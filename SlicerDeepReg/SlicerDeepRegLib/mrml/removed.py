"""A run that was removed from the scene, and can be put back. No Qt."""

from __future__ import annotations

import slicer
import slicer.util

from .add_run import group_nodes
from .corrections import lines_of, root_of
from .runs import Run, free_name, parts_of, put_under, remove, rename

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
        kept = [node for _role, node in run.owned() if node.GetSaveWithScene()]
        kept += lines_of(scene, run) if root_of(run) == run else []
        parts = [part for node in kept for part in parts_of(node)]
        #: In the order in which they are put back: what others refer to comes first. A legend is made anew.
        self._nodes = [part for part in parts if not part.IsA("vtkMRMLColorLegendDisplayNode")]
        self._nodes += [*kept, run.node]
        gone = {node.GetID() for node in self._nodes}
        #: Who refers to whom. Identifiers would not do: they may be given to others in the meantime, as by an import.
        self._own_references = [(node, *one) for node in self._nodes for one in _references(node)]
        staying = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
        self._references = [
            (node, role, n, target)
            for node in staying
            if node.GetID() not in gone
            for role, n, target in _references(node)
            if target.GetID() in gone and (role == PARENT or role.startswith(OURS))
        ]

        #: Of what was under its transforms, where the removal has put it.
        self._parents: dict[slicer.vtkMRMLNode, slicer.vtkMRMLNode | None] = {}

    def remove(self) -> None:
        """Remove the run, also if it is locked."""
        under = [node for node, role, _n, _target in self._references if role == PARENT]
        remove(self.scene, self._run, also_permanent=True)
        self._parents = {node: node.GetParentTransformNode() for node in under}

    def put_back(self) -> Run:
        """Put the run back as it was; another name if its own was given away."""
        name = free_name(self.scene, self.name)
        for node in self._nodes:
            if not self.scene.IsNodePresent(node):
                self.scene.AddNode(node)
        for node, role, n, target in self._own_references:
            if self.scene.IsNodePresent(node):
                there = self.scene.IsNodePresent(target)
                node.SetNthNodeReferenceID(role, n, target.GetID() if there else None)
        for node, role, n, target in self._references:
            if not (self.scene.IsNodePresent(node) and self.scene.IsNodePresent(target)):
                continue
            if role != PARENT:
                node.SetNthNodeReferenceID(role, n, target.GetID())
            elif node.GetParentTransformNode() is self._parents[node]:  # else the user has put it elsewhere since
                put_under(self._run, [node], target)
        group_nodes(self.scene, self._run)
        if name != self.name:
            rename(self.scene, self._run, name)
        return self._run


def _references(node: slicer.vtkMRMLNode) -> list[tuple[str, int, slicer.vtkMRMLNode]]:
    """Return (role, number, node) of all that a node refers to."""
    roles = [node.GetNthNodeReferenceRole(n) for n in range(node.GetNumberOfNodeReferenceRoles())]
    found = [
        (role, n, node.GetNthNodeReference(role, n))
        for role in roles
        for n in range(node.GetNumberOfNodeReferences(role))
    ]
    return [(role, n, target) for role, n, target in found if target is not None]
