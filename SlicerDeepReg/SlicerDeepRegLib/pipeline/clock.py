"""Seconds and peak memory of each part of a registration."""

from __future__ import annotations

import time

import torch

from .. import device as devices
from ..processes.current import forget_peak_memory, peak_memory_gb


class Clock:
    """Wall seconds and, where a device is given, peak memory by part.

    Peak memory is that of the whole process, so only one clock at a time may ask for it.

    Attributes:
        seconds: by part.
        peak_gb: 10^9 bytes by part, of the "computer" and of the "gpu", as far as they are known.
    """

    def __init__(self, device: torch.device | None) -> None:
        self.seconds: dict[str, float] = {}
        self.peak_gb: dict[str, dict[str, float]] = {}
        self._device = device
        self._last = time.perf_counter()
        self._measures_memory = False
        self._forget_peaks()

    def done(self, part: str) -> None:
        """End a part."""
        now = time.perf_counter()
        self.seconds[part] = round(now - self._last, 3)
        if self._device is not None:
            peaks = {
                "computer": peak_memory_gb() if self._measures_memory else None,
                "gpu": devices.peak_gb(self._device),
            }
            for where, peak in peaks.items():
                if peak is not None:
                    self.peak_gb.setdefault(where, {})[part] = round(peak, 3)
            self._forget_peaks()
        self._last = now

    def _forget_peaks(self) -> None:
        if self._device is not None:
            self._measures_memory = forget_peak_memory()
            devices.forget_peak(self._device)
