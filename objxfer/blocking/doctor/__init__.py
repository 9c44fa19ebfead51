"""What keeps two machines apart: checks of this one, and of the way to another."""
