"""Processes of our own: start and end them, what one sets for itself, and private folders. No torch, no Qt."""
