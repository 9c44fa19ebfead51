"""Object to head and buffers, and back."""
