"""Everything at once while its machines fail, with an account of every offset and every alert."""
