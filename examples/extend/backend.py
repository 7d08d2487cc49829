"""A backend of one's own: one of the package's, that counts the pixels of its Fourier transforms."""

from adorym.wrapper.autograd_backend import AutogradBackend


class Counting(AutogradBackend):
    """Autograd on NumPy; what a forward model costs is mostly what it transforms."""

    pixels = 0

    def fftn(self, a, axes, norm="ortho"):
        """The transform, counted."""
        self.count(a)
        return super().fftn(a, axes, norm)

    def ifftn(self, a, axes, norm="ortho"):
        """Its inverse, counted."""
        self.count(a)
        return super().ifftn(a, axes, norm)

    def count(self, a):
        """Add the pixels of ``a`` ``(..., y, x)``, whatever its batch is."""
        Counting.pixels += int(a.size)
