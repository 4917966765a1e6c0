"""May this principal do this now: Cedar and Rego, the joined decision, and the bundles they come in."""
