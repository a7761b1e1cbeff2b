"""The network of the original project, and its blocks."""

from maskwright.models.unet import DoubleConv, Down, UNet, Up

__all__ = ["DoubleConv", "Down", "UNet", "Up"]
