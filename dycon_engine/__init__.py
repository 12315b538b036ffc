"""Semi-supervised 3D medical image segmentation. Research use only; not a medical device."""

__version__ = "0.1.0"
