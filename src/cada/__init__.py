"""CADA: case-augmented deliberative alignment (Jin, Wu, Che et al., ACL 2026)."""

__version__ = "0.1.0"
