"""Registration from a request to a result."""

from __future__ import annotations

from .look import look
from .register import register

__all__ = ["look", "register"]
