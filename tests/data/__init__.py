"""Tests of loraloom.data."""
