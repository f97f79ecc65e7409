"""Generated networks, and a judge of what can be cut from them that shares no code with penjing."""
