"""Cats."""

from pets import Net, Pets


class Cats(Pets):
    pass


class Cat(Net):
    class Kitten(Net):
        """A class within a class."""
