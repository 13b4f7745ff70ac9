"""Trained models for engines without torch, each verified against its source before it is left on disk."""
