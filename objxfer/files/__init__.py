"""The disk: what is sent is found and read here, what arrives is confined and written here."""
