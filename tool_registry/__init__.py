"""What tools exist and what each may do to the world."""
