"""Figures and pictures, drawn in memory."""
