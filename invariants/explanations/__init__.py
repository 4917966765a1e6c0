"""What would have been permitted: the smallest changes of a refused call, found by the solver off the call path."""
