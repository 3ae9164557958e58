"""Learned inter-patient 3-D CT registration by supervoxels; start at `registration.register`."""

__version__ = "0.1.0"
