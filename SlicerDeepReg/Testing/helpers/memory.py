"""What torch's arrays take, counted on the CPU: about what a GPU would hold. For the tests and benchmarks/memory.py."""

import dataclasses

import numpy as np
from SlicerDeepRegLib.methods.svf import plan
from torch.profiler import ProfilerActivity, profile


def take_few_steps():
    """From now on, in this process, two steps at each level: they take as much memory as many."""
    for preset, schedule in plan.SCHEDULES.items():
        few = tuple((factor, 2) for factor, _ in schedule.iterations)
        coarse = (2,) * len(schedule.coarse_field)
        plan.SCHEDULES[preset] = dataclasses.replace(schedule, iterations=few, coarse_field=coarse)


def most_gb(work):
    """The most that torch's arrays took at once while ``work`` ran, in 10^9 bytes."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watch:
        work()
    changes = [event for event in watch.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes.sort(key=lambda event: event.start_ns())
    return float(np.cumsum([event.nbytes() for event in changes]).max() / 1e9)
