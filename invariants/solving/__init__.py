"""Terms and what answers them: our own term language, its printed form, and the two solvers behind it."""
