"""What runs around the gateway: the demonstration, its business, and deployment. No part of the wheel's six packages."""
