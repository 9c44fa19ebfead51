"""Real byte streams, non-blocking; they know nothing of messages."""
