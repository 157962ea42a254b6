"""A run that was removed from the scene, and can be put back. No Qt."""

from __future__ import annotations

import slicer
import slicer.util

from .add_run import group_nodes
from .corrections import lines_of, root_of
from .runs import Run, free_name, parts_of, remove, rename

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
        gone = {node.GetID() for node in (*kept, run.node)}
        self._own_references = [(run.node, *one) for one in _references(run.node)]
        staying = [scene.GetNthNode(n) for n in range(scene.GetNumberOfNodes())]
        self._references = [
            (node, role, identifier)
            for node in staying
            if node.GetID() not in gone
            for role, identifier in _references(node)
            if identifier in gone and (role == PARENT or role.startswith(OURS))
        ]
        kept += lines_of(scene, run) if root_of(run) == run else []
        parts = [part for node in kept for part in parts_of(node)]
        #: In the order in which they are put back: what others refer to comes first. A legend is made anew.
        self._nodes = [part for part in parts if not part.IsA("vtkMRMLColorLegendDisplayNode")]
        self._nodes += [*kept, run.node]

    def remove(self) -> None:
        """Remove the run, also if it is locked."""
        remove(self.scene, self._run, also_permanent=True)

    def put_back(self) -> Run:
        """Put the run back as it was; another name if its own was given away."""
        name = free_name(self.scene, self.name)
        for node in self._nodes:
            if not self.scene.IsNodePresent(node):
                self.scene.AddNode(node)  # under its old identifier
        for node, role, identifier in self._own_references + self._references:
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
