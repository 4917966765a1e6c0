"""What runs around the gateway: demonstration, business, deployment. No part of the six packages of the wheel."""
