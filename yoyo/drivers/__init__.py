"""Code that touches the outside world, each package behind one or more ports."""
