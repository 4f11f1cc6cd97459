"""The HubSpot-shaped MAP: what it says to us and what we write to it."""
