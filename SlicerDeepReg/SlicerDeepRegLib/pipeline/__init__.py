"""Registration from a request to a result."""

from __future__ import annotations

from .register import register

__all__ = ["register"]
