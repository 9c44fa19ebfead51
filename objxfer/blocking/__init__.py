"""The blocking front end: a pump a connection, usable from any thread."""
