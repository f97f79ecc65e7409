"""Whole models: the cut network is the masked original."""
