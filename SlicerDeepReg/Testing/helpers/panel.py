"""What the tests of the panel ask the desktop: the state of the scene, the end of a job, a worker that pretends."""

from pathlib import Path

MODULE = Path(__file__).resolve().parents[2] / "SlicerDeepReg.py"


def scene_state(scene):
    """What must be as it was: every node of the user's, with its parent transform, display and content."""
    found = {}
    for n in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(n)
        if node.IsA("vtkMRMLVolumeNode") or node.IsA("vtkMRMLTransformNode") or node.IsA("vtkMRMLSegmentationNode"):
            picture = node.GetImageData() if node.IsA("vtkMRMLVolumeNode") else None
            found[node.GetID()] = (
                node.GetName(),
                node.GetTransformNodeID(),
                picture.GetMTime() if picture is not None else 0,
                node.GetDisplayNode().GetMTime() if node.GetDisplayNode() is not None else 0,
            )
    return found


def layers(desktop):
    return [
        (view.composite.GetBackgroundVolumeID(), view.composite.GetForegroundVolumeID())
        for view in desktop.host.views.values()
    ]


def finish(desktop, widget, seconds=90):
    """Wait for the end of the job; returns it."""
    desktop.wait(lambda: widget.panel.job is None and not widget.logic.session.busy, seconds)
    return widget.logic.session.job


class PretendedClient:
    """Says what it is told to, so that faults need no process."""

    def __init__(self):
        self.devices, self.events, self.requests, self.canceled, self.released = [], [], [], [], []
        self.started = self.stopped = 0

    def start(self):
        self.started += 1

    def submit(self, request):
        self.requests.append(request)
        return f"job{len(self.requests)}"

    def look(self, request):
        return self.submit(request)

    def segment(self, image, device):
        return self.submit((image, device))

    def series(self, series):
        return self.submit(series)

    def cancel(self, job):
        self.canceled.append(job)
        self.events.append({"kind": "canceled", "job": job})

    def poll(self):
        events, self.events = self.events, []
        return events

    def say(self, kind, **values):
        self.events.append({"kind": kind, "job": f"job{len(self.requests)}", **values})

    def release(self, job):
        self.released.append(job)

    def stop(self):
        self.stopped += 1

    close = stop
