"""Blockwise distillation: every block tuned to give what the original's block gave, without labels."""

from penjing.recover.blockwise.blockwise import Blockwise

__all__ = ["Blockwise"]
