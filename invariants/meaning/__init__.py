"""What Cedar means: any request and any entities, concrete as closures and symbolic as terms."""
