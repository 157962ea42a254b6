"""The process that holds torch, what is said between it and its client, and the client. No Qt anywhere."""
