"""How much a bundle's proofs and cases would notice: mutants of its rules, and what catches them."""
