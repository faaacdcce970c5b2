"""What keeps keys elsewhere, on loopback: two key services, and a server that signs."""
